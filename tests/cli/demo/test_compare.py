"""The comparison finds every kind of difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.cli.demo.compare import Check, Frames, compare, expected_frames
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.mkv import TrackType
from kvsproducer.sources import PutProgress, PutResult
from kvsproducer.sources.pyav import Decoded

RESULT = PutResult("demo", 3, 9, 1, 0, 0, 0, 0, PutProgress())
GOOD = [(1, 0, b"abc"), (1, 40, b"def"), (2, 5, b"ghi")]


def frames(items: list[tuple[int, int, bytes]]) -> Frames:
    made = Frames(fragments=1, kinds={1: TrackType.VIDEO, 2: TrackType.AUDIO})
    for track, time, data in items:
        made.add(track, time * TICKS_PER_MS, data)
    return made


def differing(returned: Frames, decoded: Decoded, path: str) -> set[str]:
    checks = compare(RESULT, frames(GOOD), returned, decoded, path)
    assert all(isinstance(check, Check) for check in checks)
    return {c.what for c in checks if not c.passed} - {"what KVS would refuse"}


def changed(change: Callable[[list[tuple[int, int, bytes]]], object]) -> Frames:
    items = list(GOOD)
    change(items)
    return frames(items)


@pytest.mark.parametrize(
    ("what", "returned", "decoded", "found"),
    [
        ("nothing", frames(GOOD), Decoded([0, 40], 1, []), set()),
        ("a frame is missing", changed(lambda f: f.pop(1)), Decoded([0, 40], 1, []),
         {"video frames", "video timestamps", "video payloads", "payload bytes"}),
        ("a byte", changed(lambda f: f.__setitem__(0, (1, 0, b"abd"))), Decoded([0, 40], 1, []),
         {"video payloads"}),
        ("a time", changed(lambda f: f.__setitem__(2, (2, 6, b"ghi"))), Decoded([0, 40], 1, []),
         {"audio timestamps"}),
        ("a picture does not decode", frames(GOOD), Decoded([0], 1, []), {"pictures decoded"}),
        ("a sound does not decode", frames(GOOD), Decoded([0, 40], 0, []),
         {"sound frames decoded"}),
    ],
)  # fmt: skip
def test_differences(
    tmp_path: Path, what: str, returned: Frames, decoded: Decoded, found: set[str]
) -> None:
    """One changed frame, byte, time or picture shows in its own row."""
    path = tmp_path / "x.mkv"
    path.write_bytes(b"")
    assert differing(returned, decoded, str(path)) == found, what


def test_expected_frames_are_those_of_the_clip(clip: Path) -> None:
    """Counts by track, and times from the start time on."""
    start = 1_700_000_000 * TICKS_PER_SECOND
    expected = expected_frames(clip, start)
    assert {n: len(f) for n, f in expected.tracks.items()} == {1: 75, 2: 142}
    assert min(t for f in expected.tracks.values() for t, _ in f) == start // TICKS_PER_MS
