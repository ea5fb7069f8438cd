"""Derive the display order where a file does not have it: raw video, and missing times.

Raw video has no times, and its packets are in decode order. Without B-frames this is also the
display order, and picture n is shown after n frame durations (`count_times`). With B-frames a
decoder finds the display order (`derive_times`): it gets each packet with its number, and returns
the numbers in display order. Invariant: dts increases by one frame duration per packet and is at
most pts.

A packet that the decoder accepts but never shows is marked hidden. Either the stream hides the
picture, or the picture needs another one from before the beginning of the stream. A packet that the
decoder cannot decode is marked corrupt.

AVI and MPEG-PS have times for some pictures only. If one is missing on a track with B-frames,
`complete_times` uses a decoder to find the picture shown before it, and adds its duration.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Final

from kvsproducer.sources.media import Kind, MediaPacket

__all__ = ["complete_times", "count_times", "derive_times"]

_MAX_WAITING: Final = (
    64  # our limit: packets that wait for their position; H.265 reorders at most 16
)
Show = Callable[[MediaPacket | None], list[int] | None]


def count_times(packets: Iterable[MediaPacket], frame: Fraction) -> Iterator[MediaPacket]:
    """Yield packets with times: picture n is shown after n frame durations of `frame` ticks."""
    for packet in packets:
        packet.pts = packet.dts = int(packet.number * frame)
        packet.duration = int(frame)
        yield packet


def derive_times(
    packets: Iterable[MediaPacket], show: Show, frame: Fraction
) -> Iterator[MediaPacket]:
    """Yield packets with times from the display order, which the decoder `show` returns.

    `show` takes a packet (None: the end) and returns the numbers of the pictures that are shown
    next. For a packet that it cannot decode it returns None; the packet is then marked as corrupt.
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
                yield order.set_times(waiting.popleft())
    order.place(-1, show(None))
    if order.delay is None:
        order.measure(waiting)
    for packet in waiting:
        yield order.set_times(packet)


class _Order:
    """The display positions of pictures, and the times that follow from them."""

    def __init__(self, frame: Fraction) -> None:
        self._frame = frame
        self._places: dict[int, int] = {}  # number of a packet -> its display position
        self._damaged: set[int] = set()
        self._shown = 0
        self._decoded = 0  # yielded pictures with a position
        self._last_pts = self._last_dts = 0
        self.delay: int | None = None
        """By how many frame durations dts is reduced, so that no dts is later than its pts."""

    def place(self, number: int, shown: list[int] | None) -> None:
        """Store the display positions of the pictures that the decoder returned for a packet.

        `number` is the packet's number. `shown` has the pictures' numbers; it is None if the packet
        is damaged.
        """
        if shown is None:
            self._damaged.add(number)
            self._shown += 1  # it would have been shown
            return
        for picture in shown:
            self._places[picture] = self._shown
            self._shown += 1

    def is_placed(self, packet: MediaPacket) -> bool:
        """Return whether the display position of `packet` is known."""
        return packet.number in self._places

    def measure(self, waiting: Iterable[MediaPacket]) -> None:
        """Set `delay` from the display positions of the first packets."""
        places = [self._places[p.number] for p in waiting if self.is_placed(p)]
        self.delay = max((n - place for n, place in enumerate(places)), default=0)

    def set_times(self, packet: MediaPacket) -> MediaPacket:
        """Set the times of `packet`."""
        assert self.delay is not None
        packet.duration = int(self._frame)
        place = self._places.pop(packet.number, None)
        if place is None:
            packet.corrupt = packet.number in self._damaged
            packet.hidden = not packet.corrupt
            packet.pts, packet.dts = self._last_pts, self._last_dts
            return packet
        packet.pts = int(place * self._frame)
        packet.dts = min(packet.pts, int((self._decoded - self.delay) * self._frame))
        self._decoded += 1
        self._last_pts, self._last_dts = packet.pts, packet.dts
        return packet


def complete_times(
    packets: Iterable[MediaPacket],
    new_decoder: Callable[[], Show],
    count: Callable[[], None],
    frame: int,
) -> Iterator[MediaPacket]:
    """Set each missing pts to the time at which the picture is shown; call `count()` for each.

    A decoder finds this time. It decodes only pictures between the key frame before a missing time
    and the key frame after it. A picture that the decoder does not show keeps its pts of None.
    `frame` is the duration, in ticks, of pictures that have none of their own.
    """
    group: list[MediaPacket] = []  # the pictures since the last key frame
    display: _Display | None = None
    for packet in packets:
        if packet.kind is not Kind.VIDEO:
            yield packet
            continue
        if packet.key_frame:
            group.clear()
            if display is not None and not display.waiting:
                display = None
        if packet.pts is None:
            count()
            if display is None:
                display = _Display(new_decoder(), frame)
                for known in group:
                    display.show(known)
        group.append(packet)
        if display is None:
            yield packet
            continue
        display.show(packet)
        display.waiting.append(packet)
        yield from display.ready(_MAX_WAITING)
    if display is not None:
        display.show(None)
        yield from display.ready(0)


class _Display:
    """Compute the times of pictures from the display order, which the decoder `show` returns."""

    def __init__(self, show: Show, frame: int) -> None:
        self._frame = frame
        self.waiting: deque[MediaPacket] = deque()
        """Pictures to yield, in decode order."""
        self._show = show
        self._inside: dict[int, MediaPacket] = {}  # by number, until the decoder returns it
        self._before: list[MediaPacket] = []  # shown before any time is known
        self._next: int | None = None  # when the next picture is shown

    def show(self, packet: MediaPacket | None) -> None:
        """Pass a picture to the decoder, and set the times of the pictures that it returns.

        None marks the end of the stream.
        """
        if packet is not None:
            self._inside[packet.number] = packet
        for number in self._show(packet) or ():
            shown = self._inside.pop(number, None)
            if shown is not None:
                self._place(shown)

    def _place(self, packet: MediaPacket) -> None:
        if packet.pts is None:
            if self._next is None:
                self._before.append(packet)
                return
            packet.pts = self._next
        elif self._before:
            time = packet.pts
            for earlier in reversed(self._before):
                time -= earlier.duration or self._frame
                earlier.pts = time
            self._before.clear()
        self._next = packet.pts + (packet.duration or self._frame)

    def ready(self, keep: int) -> Iterator[MediaPacket]:
        """Yield waiting pictures, in order, up to the first one without a time.

        If more than `keep` pictures wait, the first ones are yielded even without a time.
        """
        waiting = self.waiting
        while waiting and (waiting[0].pts is not None or len(waiting) > keep):
            packet = waiting.popleft()
            if packet.pts is None:
                self._inside.pop(packet.number, None)
            yield packet
