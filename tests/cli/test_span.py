"""The length of media, with and without durations of frames."""

from __future__ import annotations

import pytest

from kvsproducer.cli.span import Span
from kvsproducer.mkv.events import TrackEntry
from kvsproducer.reader import ReadFragment, ReadFrame

MS = 10_000
VIDEO, AUDIO = 1, 2


def fragment(
    track: int, *times_ms: int, last_ms: int | None = None, default_ms: int = 0
) -> ReadFragment:
    """Frames of one track at these times."""
    frames = [ReadFrame(track, time * MS, True, memoryview(b"x")) for time in times_ms]
    if last_ms is not None:
        frames[-1] = ReadFrame(track, times_ms[-1] * MS, True, memoryview(b"x"), last_ms * MS)
    tracks = [TrackEntry(number=track, default_duration_ns=default_ms * 1_000_000)]
    return ReadFragment(frames=frames, tracks=tracks)


@pytest.mark.parametrize(
    ("fragments", "length_ms"),
    [
        ([], 0),
        ([fragment(VIDEO, 1000)], 0),
        ([fragment(VIDEO, 1000, 1040, 1080)], 120),
        ([fragment(VIDEO, 1000), fragment(VIDEO, 1040)], 80),
        # The last frames are not the last that come: B-frames.
        ([fragment(VIDEO, 1000, 1120, 1040, 1080)], 160),
        # Sent twice, and out of turn.
        ([fragment(VIDEO, 1000, 1040), fragment(VIDEO, 1000, 1040)], 80),
        ([fragment(VIDEO, 2000, 2040), fragment(VIDEO, 1000, 1040)], 1080),
        # After a pause the frame before says more than the pause.
        ([fragment(VIDEO, 1000, 1040), fragment(VIDEO, 9000)], 8040),
        # The track that ends last counts.
        ([fragment(VIDEO, 1000, 1040), fragment(AUDIO, 1000, 1021, 1042, 1063)], 84),
        ([fragment(VIDEO, 1000, last_ms=33)], 33),
        ([fragment(VIDEO, 1000, 1040, last_ms=10)], 50),
        ([fragment(VIDEO, 1000, default_ms=25)], 25),
        ([fragment(VIDEO, 1000, 1040, default_ms=25, last_ms=10)], 50),
    ],
)
def test_length(fragments: list[ReadFragment], length_ms: int) -> None:
    """To the end of the last frame."""
    span = Span()
    for one in fragments:
        span.add(one)
    assert span.length == length_ms * MS


def test_it_begins_with_the_earliest() -> None:
    """Without a fragment it is None."""
    span = Span()
    assert span.first is None
    for time in (2000, 1000, 3000):
        span.add(fragment(VIDEO, time))
    assert span.first == 1000 * MS
