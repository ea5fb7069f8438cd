"""A queue of received bytes, from which the parser takes whole elements.

Chunks are kept as received. They are joined only when the parser takes an element that spans
several chunks. So each byte is copied once, and a large element in many chunks takes linear time.
Tiny chunks are first collected in a larger buffer (one more copy). Otherwise, a peer that sends
single bytes could make the queue use much more memory than the data.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["ByteQueue"]

_SMALL_CHUNK_BYTES: Final = 1024
_GATHERED_BYTES: Final = 16 * 1024


class ByteQueue:
    """Bytes to be parsed: `available` bytes are left, and `offset` bytes have been taken so far."""

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
        """Return up to `size` bytes without removing them; for small sizes only."""
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
        """The oldest chunk and the position of its first unread byte; more chunks may follow."""
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
        """Take bytes that span several chunks; partial chunks are joined as views."""
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
