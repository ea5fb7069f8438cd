"""An open fragment: its duration, its timecode in milliseconds, its metadata."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from kvsproducer.duration import ticks
from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.open_fragment import OpenFragment, Refusal, check_metadata
from kvsproducer.mkv.events import Block

MS = 10_000


def opened(timecode: int = 1000, scale_ns: int = 1_000_000) -> OpenFragment:
    return OpenFragment(
        "1",
        timecode,
        scale_ns=scale_ns,
        producer_timestamp=0,
        server_timestamp=0,
        leading=b"",
        metadata_count=0,
        bounds=EndpointLimits(),
    )


def block(time: int, track: int = 1, duration: int | None = None) -> Block:
    return Block(b"raw", track, time, True, False, False, [memoryview(b"raw")], duration)


def duration(fragment: OpenFragment, *blocks: Block) -> int:
    for one in blocks:
        fragment.add_block(one, {1, 2}, {})
    return fragment.finish(b"", b"", ()).info.duration


@pytest.mark.parametrize(
    ("blocks", "expected_ms"),
    [
        ([block(0), block(40), block(80)], 120),
        ([block(0), block(80), block(40), block(120)], 160),  # B-frames
        ([block(0)], 0),
        ([block(0, duration=33)], 33),
        ([block(0), block(40), block(-20, 2), block(100, 2)], 240),
    ],
)
def test_duration_extends_to_the_end_of_the_last_frame(
    blocks: list[Block], expected_ms: int
) -> None:
    assert duration(opened(), *blocks) == expected_ms * MS


@pytest.mark.parametrize("stated", [2**63, 2**64 - 1])
def test_declared_duration_is_limited(stated: int) -> None:
    """SQLite stores integers up to 2**63 - 1. No fragment is longer than a connection may last."""
    longest = ticks(EndpointLimits().connection_duration)
    assert duration(opened(), block(0, duration=stated)) == longest


def test_tiny_blocks_take_little_memory() -> None:
    """One object for each block would need ten times their size."""
    fragment = opened()
    tracemalloc.start()
    for _ in range(20_000):
        fragment.add_raw(bytes(bytearray(b"tiny..")))
    fragment.add_raw(b"x" * 5000)
    fragment.add_raw(b"end")
    fragment.add_block(block(0), {1}, {})
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 3 * 120_000
    cluster = fragment.finish(b"", b"", {1}).cluster
    assert cluster.startswith(b"tiny.." * 20_000 + b"x" * 5000 + b"end")


def test_timecodes_are_scaled() -> None:
    coarse = opened(timecode=3, scale_ns=1_000_000_000)
    assert coarse.timecode_ms == 3000
    assert duration(coarse, block(0), block(1)) == 2000 * MS
    assert opened(timecode=12_345, scale_ns=100_000).timecode_ms == 1234


@pytest.mark.parametrize(
    ("pairs", "error_id"),
    [
        ([("a", "")] * 11, 4009),
        ([("é" * 65, "")], 4009),
        ([("a", "é" * 129)], 4009),
        ([("AWS", "")], 4012),
        ([("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "1")], 4012),
    ],
)
def test_refused_metadata(pairs: Any, error_id: int) -> None:
    with pytest.raises(Refusal) as caught:
        check_metadata(pairs, 0)
    assert caught.value.error_id == error_id


def test_counted_metadata() -> None:
    assert check_metadata([("a", "b"), ("AWS_KINESISVIDEO_NOTIFICATION", "")], 3) == 5
    assert check_metadata([("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")], 3) == 3
    assert check_metadata([("aws", "x" * 256), ("n" * 128, "")], 8) == 10
