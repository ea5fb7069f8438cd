"""A queue of received bytes: data goes in as it comes, elements come out whole.

Chunks are kept as received and joined once, when a piece that spans several is taken; so a byte is
copied once, and the cost of a large element does not grow with the number of its chunks. Tiny
chunks are gathered (one more copy), so that a sender of single bytes can't make the bookkeeping
outweigh the data.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["ByteQueue"]

_SMALL_CHUNK_BYTES: Final = 1024
_GATHERED_BYTES: Final = 16 * 1024


class ByteQueue:
    """Bytes waiting to be parsed. `available` counts them, `offset` those taken so far."""

    __slots__ = ("_chunks", "_head", "_position", "available", "offset")

    def __init__(self) -> None:
        self._head = b""
        self._position = 0  # of the first waiting byte in _head
        self._chunks: deque[bytes | bytearray] = deque()  # after _head
        self.available = 0
        self.offset = 0

    def feed(self, data: bytes) -> None:
        """Append a chunk."""
        if not data:
            return
        if self._position == len(self._head):
            self._head = data
            self._position = 0
        elif len(data) > _SMALL_CHUNK_BYTES:
            self._chunks.append(data)
        else:
            self._gather(data)
        self.available += len(data)

    def _gather(self, data: bytes) -> None:
        last = self._chunks[-1] if self._chunks else None
        if isinstance(last, bytearray) and len(last) < _GATHERED_BYTES:
            last += data
        else:
            self._chunks.append(bytearray(data))

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, or as many as there are; they stay. For small sizes only."""
        found = self._head[self._position : self._position + size]
        if len(found) < size and self._chunks:
            parts: list[bytes | bytearray] = [found]
            missing = size - len(found)
            for chunk in self._chunks:
                parts.append(chunk[:missing])
                missing -= len(parts[-1])
                if not missing:
                    break
            return b"".join(parts)
        return found

    @property
    def head(self) -> tuple[bytes, int]:
        """The oldest chunk, and where its waiting bytes begin; what follows may be in others."""
        return self._head, self._position

    def take(self, size: int) -> bytes:
        """Remove and return exactly `size` bytes; there must be that many."""
        assert size <= self.available
        self.offset += size
        self.available -= size
        end = self._position + size
        head = self._head
        if end < len(head):
            taken = head[self._position : end]
            self._position = end
            return taken
        if end == len(head):
            taken = head[self._position :]
            self._next_chunk()
            return taken
        return self._take_across(size)

    def _take_across(self, size: int) -> bytes:
        """`take` over several chunks: whole ones as they are, views of the two at the ends."""
        parts: list[bytes | memoryview] = []
        while size:
            left = len(self._head) - self._position
            if left > size:
                parts.append(memoryview(self._head)[self._position : self._position + size])
                self._position += size
                break
            parts.append(memoryview(self._head)[self._position :])
            size -= left
            self._next_chunk()
        return b"".join(parts)

    def _next_chunk(self) -> None:
        self._head = bytes(self._chunks.popleft()) if self._chunks else b""
        self._position = 0
