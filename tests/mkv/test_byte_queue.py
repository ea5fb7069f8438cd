"""Tests of the queue of received bytes."""

from __future__ import annotations

import random

from kvsproducer.mkv.byte_queue import ByteQueue


def test_bytes_are_returned_in_pieces_of_any_size() -> None:
    """Chunks and pieces have random sizes; peeking changes nothing."""
    rng = random.Random(7)
    data = rng.randbytes(300_000)
    queue = ByteQueue()
    fed = taken = 0
    while taken < len(data):
        size = rng.choice((0, 1, 2, 900, 1100, 5000, 40_000))
        queue.feed(data[fed : fed + size])
        fed = min(fed + size, len(data))
        wish = rng.choice((1, 5, 1000, 20_000, queue.available))
        assert queue.peek(12) == data[taken : min(taken + 12, fed)]
        if wish <= queue.available:
            assert queue.take(wish) == data[taken : taken + wish]
            taken += wish
        assert (queue.offset, queue.available) == (taken, fed - taken)


def test_a_whole_chunk_is_not_copied() -> None:
    chunk = bytes(range(200)) * 10
    queue = ByteQueue()
    queue.feed(chunk)
    assert queue.take(len(chunk)) is chunk


def test_tiny_chunks_are_collected() -> None:
    """Input in single bytes does not create millions of objects."""
    queue = ByteQueue()
    for _ in range(100_000):
        queue.feed(b"x")
    assert len(queue._chunks) < 10
    assert queue.take(100_000) == b"x" * 100_000
