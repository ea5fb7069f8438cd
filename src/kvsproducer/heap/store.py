"""The content store of a client: a budget in bytes, shared by its streams.

Facts: AWS's heap API (initialize, alloc, free, size), of which a producer needs the accounting:
Python's objects are the allocations. Invariant: `0 <= used_bytes <= size_bytes`; a charge that
does not fit changes nothing. What an item costs beyond its bytes is the caller's to add (see
`limits.ITEM_OVERHEAD_BYTES`).
"""

from __future__ import annotations

from typing import Protocol

from kvsproducer import limits
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["ContentStore", "ReferenceStore"]


class ContentStore(Protocol):
    """What the client needs of a store."""

    size_bytes: int
    used_bytes: int

    def charge(self, count: int) -> bool:
        """Take `count` bytes of the budget; False, with nothing changed, if they do not fit."""

    def release(self, count: int) -> None:
        """Give back `count` bytes that were charged."""


class ReferenceStore:
    """The store in memory: frames are kept by reference, the budget is a counter.

    Raises INVALID_ARG for a size below 1 MiB or above 1 TiB.
    """

    __slots__ = ("size_bytes", "used_bytes")

    def __init__(self, size_bytes: int) -> None:
        if not limits.MIN_HEAP_SIZE_BYTES <= size_bytes <= limits.MAX_HEAP_SIZE_BYTES:
            raise kvs_error(StatusCode.INVALID_ARG, f"a store of {size_bytes} bytes")
        self.size_bytes = size_bytes
        self.used_bytes = 0

    def charge(self, count: int) -> bool:
        """Take `count` bytes of the budget; False, with nothing changed, if they do not fit."""
        used = self.used_bytes + count
        if used > self.size_bytes:
            return False
        self.used_bytes = used
        return True

    def release(self, count: int) -> None:
        """Give back `count` bytes that were charged."""
        self.used_bytes -= count
        assert self.used_bytes >= 0, "more was released than charged"

    @property
    def available_bytes(self) -> int:
        """What is left of the budget."""
        return self.size_bytes - self.used_bytes
