"""Times for raw H.264 and H.265, which have none: the frame rate and the order of display.

Packets come in decode order. Without B-frames that is the order of display too and the nth
picture is shown after n frame durations (`counted`). With B-frames a decoder tells the order
(`displayed`): each packet is shown to it under its number, and numbers come out as pictures do.

A packet that the decoder takes and never shows (a picture that the stream itself hides, or that
needs one before the stream's beginning) is marked hidden.

Invariant: dts rises by one frame duration a packet and is at most pts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Final

from kvsproducer.sources.media import MediaPacket
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["counted", "displayed"]

_MAX_WAITING: Final = 64  # ours: packets that wait for their place; H.265 reorders at most 16
Show = Callable[[MediaPacket | None], list[int] | None]


def counted(packets: Iterable[MediaPacket], frame: Fraction) -> Iterator[MediaPacket]:
    """Times by counting; `frame` is the frame duration in ticks."""
    for packet in packets:
        packet.pts = packet.dts = int(packet.number * frame)
        packet.duration = int(frame)
        yield packet


def displayed(packets: Iterable[MediaPacket], show: Show, frame: Fraction) -> Iterator[MediaPacket]:
    """Times by the order in which `show` (a decoder; None flushes it) gives numbers back.

    `show` returns None for a packet that it cannot decode; raises MKV_INVALID_FRAME_DATA for it.
    """
    order = _Order(frame)
    waiting: deque[MediaPacket] = deque()
    for packet in packets:
        order.place(packet.number, show(packet))
        waiting.append(packet)
        if order.delay is None and len(waiting) == _MAX_WAITING:
            order.measure(waiting)
        if order.delay is not None:
            while waiting and (order.is_placed(waiting[0]) or len(waiting) > _MAX_WAITING):
                yield order.timed(waiting.popleft())
    order.place(-1, show(None))
    if order.delay is None:
        order.measure(waiting)
    for packet in waiting:
        yield order.timed(packet)


class _Order:
    """The places of pictures in the order of display, and the times that follow from them."""

    def __init__(self, frame: Fraction) -> None:
        self._frame = frame
        self._places: dict[int, int] = {}  # number of a packet -> its place
        self._damaged: set[int] = set()
        self._shown = 0
        self._decoded = 0  # pictures with a place that have been given out
        self._last_pts = self._last_dts = 0
        self.delay: int | None = None
        """How many pictures dts runs behind: the deepest reordering of the first packets."""

    def place(self, number: int, shown: list[int] | None) -> None:
        """Note what packet `number` made the decoder show, None when it was damaged."""
        if shown is None:
            self._damaged.add(number)
            return
        for picture in shown:
            self._places[picture] = self._shown
            self._shown += 1

    def is_placed(self, packet: MediaPacket) -> bool:
        """Whether its place is known."""
        return packet.number in self._places

    def measure(self, waiting: Iterable[MediaPacket]) -> None:
        """Set `delay` from the first packets."""
        places = [self._places[p.number] for p in waiting if self.is_placed(p)]
        self.delay = max((n - place for n, place in enumerate(places)), default=0)

    def timed(self, packet: MediaPacket) -> MediaPacket:
        """Give `packet` its times."""
        assert self.delay is not None
        packet.duration = int(self._frame)
        place = self._places.pop(packet.number, None)
        if place is None:
            if packet.number in self._damaged:
                raise kvs_error(
                    StatusCode.MKV_INVALID_FRAME_DATA,
                    f"video frame {packet.number} cannot be decoded, so its time is not known (is"
                    " it damaged, or are its parameter sets missing?)",
                )
            packet.hidden = True
            packet.pts, packet.dts = self._last_pts, self._last_dts
            return packet
        packet.pts = int(place * self._frame)
        packet.dts = min(packet.pts, int((self._decoded - self.delay) * self._frame))
        self._decoded += 1
        self._last_pts, self._last_dts = packet.pts, packet.dts
        return packet
