"""Times of raw video from the frame rate and the display order."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import pytest

from kvsproducer.sources.media import Kind, MediaPacket
from kvsproducer.sources.raw_order import complete_times, count_times, derive_times

FRAME = Fraction(400_000)


def packets(count: int) -> Iterator[MediaPacket]:
    for number in range(count):
        yield MediaPacket(Kind.VIDEO, b"x", None, None, 0, number == 0, number)


class Decoder:
    """A decoder that shows pictures in a given order, as early as possible."""

    def __init__(self, order: list[int]) -> None:
        self._order = order
        self._seen: set[int] = set()

    def __call__(self, packet: MediaPacket | None) -> list[int]:
        if packet is not None:
            self._seen.add(packet.number)
        shown = []
        while self._order and self._order[0] in self._seen:
            shown.append(self._order.pop(0))
        return shown


def test_times_without_b_frames() -> None:
    """Times are counted."""
    times = [(p.pts, p.dts, p.duration) for p in count_times(packets(3), FRAME)]
    assert times == [(0, 0, 400_000), (400_000, 400_000, 400_000), (800_000, 800_000, 400_000)]


@pytest.mark.parametrize("groups", [1, 40])
def test_b_frames_get_their_display_position(groups: int) -> None:
    """I P B B in decode order is shown I B B P. dts is at most pts, and never decreases."""
    order = [4 * g + n for g in range(groups) for n in (0, 2, 3, 1)]
    timed = list(derive_times(packets(4 * groups), Decoder(list(order)), FRAME))
    assert [p.number for p in timed] == list(range(4 * groups))
    shown = sorted(timed, key=lambda p: p.pts or 0)
    assert [p.number for p in shown] == order
    assert all((p.dts or 0) <= (p.pts or 0) for p in timed)
    decode_times = [p.dts or 0 for p in timed]
    assert decode_times == sorted(decode_times)


def test_undecodable_packet_is_marked_corrupt() -> None:
    """It is skipped later. The pictures after it keep their times."""
    decoder = Decoder([0, 1, 3, 4])

    def show(packet: MediaPacket | None) -> list[int] | None:
        return None if packet is not None and packet.number == 2 else decoder(packet)

    timed = list(derive_times(packets(5), show, FRAME))
    assert [p.corrupt for p in timed] == [False, False, True, False, False]
    assert not any(p.hidden for p in timed)
    assert [p.pts for p in timed if not p.corrupt] == [n * 400_000 for n in (0, 1, 3, 4)]


@pytest.mark.parametrize("groups", [1, 40])
def test_picture_that_is_not_shown_is_hidden(groups: int) -> None:
    """It has no display time: all others are shown as if it did not exist."""
    order = [5 * g + n for g in range(groups) for n in (0, 2, 3, 1)]
    timed = list(derive_times(packets(5 * groups), Decoder(list(order)), FRAME))
    assert [p.number for p in timed if p.hidden] == [5 * g + 4 for g in range(groups)]
    shown = sorted((p for p in timed if not p.hidden), key=lambda p: p.pts or 0)
    assert [p.number for p in shown] == order
    assert [p.pts for p in shown] == [n * 400_000 for n in range(4 * groups)]
    decode_times = [p.dts or 0 for p in timed]
    assert decode_times == sorted(decode_times)
    assert all((p.dts or 0) <= (p.pts or 0) for p in timed)


class Reordering:
    """A decoder that shows I P B B as I B B P, one packet late."""

    def __init__(self) -> None:
        self.later: list[int] = []

    def __call__(self, packet: MediaPacket | None) -> list[int]:
        if packet is None or packet.number % 4 in (0, 1):
            out, self.later = self.later, []
            if packet is not None:
                self.later = [packet.number]
            return out
        return [packet.number]


@pytest.mark.parametrize("missing", [{1}, {2, 3}, {5, 6, 7}, {0}, {0, 1, 2}, set(range(4, 40))])
def test_missing_times_follow_from_the_display_order(missing: set[int]) -> None:
    """One time is missing, or several in a row, the first ones, or all but the first few."""
    made: list[MediaPacket] = []
    right = []
    for number in range(40):
        place = 4 * (number // 4) + {0: 0, 1: 3, 2: 1, 3: 2}[number % 4]
        right.append(place * 400_000)
        pts = None if number in missing else right[-1]
        key = number % 8 == 0
        made.append(MediaPacket(Kind.VIDEO, b"v", pts, None, 0, key, number))
    decoders: list[Reordering] = []
    repairs: list[int] = []

    def decoder() -> Reordering:
        decoders.append(Reordering())
        return decoders[-1]

    out = list(complete_times(made, decoder, lambda: repairs.append(1), 400_000))
    assert [p.number for p in out] == list(range(40))
    assert [p.pts for p in out] == right
    assert len(repairs) == len(missing)
    assert len(decoders) == 1


def test_complete_times_need_no_decoder() -> None:
    """Sound, and pictures with times, are passed on at once."""
    made = [*packets(5), MediaPacket(Kind.AUDIO, b"a", None, None, 0, True, 0)]
    for packet in made[:5]:
        packet.pts = packet.number * 400_000
    taken = list(complete_times(iter(made), lambda: pytest.fail("decodes"), lambda: None, 400_000))
    assert taken == made
