"""The content store of a client: a budget in bytes shared by its streams, and who holds the bytes.

Facts: AWS's heap API (initialize, alloc, map, free, size, debug check, release). A `ContentStore`
is at least a budget: the reference store is nothing more, since the caller's immutable bytes are
the allocations. A `HoldingStore` also takes payloads away into its regions (an arena, files, video
memory) and gives them back, as copies, when they are read.

Invariants: `0 <= used_bytes <= size_bytes`; a charge that does not fit changes nothing, and so does
a payload that no region takes. What an item costs beyond its bytes is the caller's to add (see
`limits.ITEM_OVERHEAD_BYTES`). Nothing here is safe to share between threads: the client's owner
holds its lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias, overload

from kvsproducer import limits
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = [
    "ContentStore",
    "HoldingStore",
    "Payload",
    "ReferenceStore",
    "Region",
    "StoredPayload",
    "compact",
]

Payload: TypeAlias = Sequence[bytes | memoryview]


class ContentStore(Protocol):
    """What the client needs of every store."""

    size_bytes: int
    used_bytes: int

    def charge(self, count: int) -> bool:
        """Take `count` bytes of the budget; False, with nothing changed, if they do not fit."""

    def release(self, count: int) -> None:
        """Give back `count` bytes that were charged."""

    def close(self) -> None:
        """Give back what the store itself took; it is not used after this."""


class ReferenceStore:
    """The store in memory: frames are kept by reference, the budget is a counter.

    Raises INVALID_ARG for a size below 1 MiB or above 1 TiB.
    """

    __slots__ = ("size_bytes", "used_bytes")

    def __init__(self, size_bytes: int) -> None:
        check_size(size_bytes)
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

    def close(self) -> None:
        """Nothing: the frames are the caller's."""


def check_size(size_bytes: int) -> None:
    """Raise INVALID_ARG for a store, or the memory part of one, that is too small or too large."""
    if not limits.MIN_HEAP_SIZE_BYTES <= size_bytes <= limits.MAX_HEAP_SIZE_BYTES:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"StorageInfo gives the memory {size_bytes:,} bytes (storage_size, times spill_ratio"
            f" in a hybrid store); {limits.MIN_HEAP_SIZE_BYTES:,} to {limits.MAX_HEAP_SIZE_BYTES:,}"
            " are allowed",
        )


def compact(payload: Payload, size: int, alive: int) -> tuple[Payload, int]:
    """Return the payload to keep, and how many bytes it keeps alive.

    `payload` is `size` bytes in views of one object of `alive` bytes. If an eighth of that object
    is not in the payload (padding), or the payload is in so many pieces that they would take more
    memory than the bytes, it is copied into one buffer.
    """
    if (alive - size) * 8 <= alive and len(payload) <= limits.MAX_PAYLOAD_BUFFERS:
        return payload, max(size, alive)
    return (b"".join(payload),), size


class Region(Protocol):
    """A place that holds payloads, each under a handle of its own."""

    def store(self, payload: Payload, size: int) -> int | None:
        """Copy `size` bytes in; their handle, or None when there is no room for them.

        Raises the region's statuses when it fails, with nothing kept.
        """

    def read(self, handle: int) -> bytes:
        """A copy of what was stored; raises when it is no longer what it was."""

    def free(self, handle: int) -> None:
        """Forget a payload."""

    def fits(self, size: int) -> bool:
        """Whether a payload of `size` bytes would have room if there were no other."""

    def debug_check(self) -> None:
        """Raise HEAP_CORRUPTED when the region's own bookkeeping is damaged."""

    def close(self) -> None:
        """Give everything back."""


class StoredPayload(Sequence[bytes]):
    """A payload that a region holds: a sequence of one buffer, read each time it is asked for."""

    __slots__ = ("_handle", "_region")

    def __init__(self, region: Region, handle: int) -> None:
        self._region = region
        self._handle = handle

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[bytes]:
        yield self._region.read(self._handle)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        return list(self)[index]

    def free(self) -> None:
        """Give the bytes up."""
        self._region.free(self._handle)


def _check_length(payload: Payload, size: int) -> None:
    """A region copies into room of `size` bytes, past which it must neither write nor read."""
    count = sum(map(len, payload))
    if count > size:
        raise kvs_error(
            StatusCode.BUFFER_TOO_SMALL, f"a payload of {count} bytes in room for {size}"
        )
    if count < size:
        raise kvs_error(StatusCode.INVALID_ARG, f"a payload of {count} bytes, said to be {size}")


class HoldingStore(ReferenceStore):
    """A budget, and regions that hold the bytes: the first one that has room takes a payload.

    A region that fails (a full disk) counts as one without room, so that the others are used;
    `failure` is the error, until that region has taken a payload again.
    """

    __slots__ = ("_closed", "_failed", "_regions", "failure")

    def __init__(self, size_bytes: int, regions: Sequence[Region]) -> None:
        super().__init__(size_bytes)
        self._regions = tuple(regions)
        self._closed = False
        self._failed: Region | None = None
        self.failure: KvsError | None = None

    def keep(self, payload: Payload, size: int) -> Payload | None:
        """Take a payload of `size` bytes in; what stands for it, or None when there is no room.

        Raises HEAP_NOT_INITIALIZED after `close`, BUFFER_TOO_SMALL for a payload of more than
        `size` bytes, INVALID_ARG for one of fewer, and what a region raises when no other has room;
        nothing is kept then.
        """
        self._check_open()
        _check_length(payload, size)
        if not size:
            return payload
        failure: KvsError | None = None
        for region in self._regions:
            try:
                handle = region.store(payload, size)
            except KvsError as error:
                self._failed, self.failure = region, error
                failure = failure or error
                continue
            if handle is not None:
                if region is self._failed:
                    self._failed = self.failure = None
                return StoredPayload(region, handle)
        if failure is not None:
            raise failure
        return None

    def fits(self, size: int) -> bool:
        """Whether a payload of `size` bytes could be kept if nothing else were, by what works."""
        working = (region for region in self._regions if region is not self._failed)
        return any(region.fits(size) for region in working)

    def helps(self, payload: Payload) -> bool:
        """Whether giving a payload up makes room: not if the region that has it has failed."""
        return isinstance(payload, StoredPayload) and payload._region is not self._failed

    def free(self, payload: Payload) -> None:
        """Give up what `keep` gave; a payload that is not the store's is left alone."""
        if isinstance(payload, StoredPayload):
            self._check_open()
            payload.free()

    def debug_check(self) -> None:
        """Look at every block; raises HEAP_CORRUPTED when one is damaged."""
        self._check_open()
        for region in self._regions:
            region.debug_check()

    def close(self) -> None:
        """Give everything back, payloads included; the first failure is raised when all is done."""
        failure: KvsError | None = None
        if not self._closed:
            self._closed = True
            for region in self._regions:
                try:
                    region.close()
                except KvsError as error:
                    failure = failure or error
        if failure is not None:
            raise failure

    def _check_open(self) -> None:
        if self._closed:
            raise kvs_error(StatusCode.HEAP_NOT_INITIALIZED, "the content store is closed")
