"""Times for raw H.264 and H.265, which have none: the frame rate and the order of display.

Packets come in decode order. Without B-frames that is the order of display too and the nth
picture is shown after n frame durations (`counted`). With B-frames a decoder tells the order
(`displayed`): each packet is shown to it under its number, and numbers come out as pictures do.

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
Show = Callable[[MediaPacket | None], list[int]]


def counted(packets: Iterable[MediaPacket], frame: Fraction) -> Iterator[MediaPacket]:
    """Times by counting; `frame` is the frame duration in ticks."""
    for packet in packets:
        packet.pts = packet.dts = int(packet.number * frame)
        packet.duration = int(frame)
        yield packet


def displayed(packets: Iterable[MediaPacket], show: Show, frame: Fraction) -> Iterator[MediaPacket]:
    """Times by the order in which `show` (a decoder; None flushes it) gives numbers back.

    Raises MKV_INVALID_FRAME_DATA for a packet that never comes out of the decoder.
    """
    places: dict[int, int] = {}
    shown = 0
    waiting: deque[MediaPacket] = deque()
    delay: int | None = None  # how far dts runs behind: the deepest reordering of the first packets

    def place(numbers: list[int]) -> None:
        nonlocal shown
        for number in numbers:
            places[number] = shown
            shown += 1

    def ready(keep: int, behind: int) -> Iterator[MediaPacket]:
        while waiting and (waiting[0].number in places or len(waiting) > keep):
            yield _timed(waiting.popleft(), places, frame, behind)

    for packet in packets:
        place(show(packet))
        waiting.append(packet)
        if delay is None and len(waiting) == _MAX_WAITING:
            delay = _reordering(waiting, places)
        if delay is not None:
            yield from ready(_MAX_WAITING, delay)
    place(show(None))
    yield from ready(0, _reordering(waiting, places) if delay is None else delay)


def _reordering(waiting: deque[MediaPacket], places: dict[int, int]) -> int:
    return max((p.number - places[p.number] for p in waiting if p.number in places), default=0)


def _timed(packet: MediaPacket, places: dict[int, int], frame: Fraction, delay: int) -> MediaPacket:
    place = places.pop(packet.number, None)
    if place is None:
        raise kvs_error(
            StatusCode.MKV_INVALID_FRAME_DATA,
            f"video frame {packet.number} cannot be decoded, so its time is not known (is it"
            " damaged, or are its parameter sets missing?)",
        )
    packet.pts = int(place * frame)
    packet.dts = min(packet.pts, int((packet.number - delay) * frame))
    packet.duration = int(frame)
    return packet
