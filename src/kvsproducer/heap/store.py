"""The interfaces of content stores, and the store that keeps references.

A content store is a budget in bytes that all streams of a client share. It may also hold the
payloads.

Source: AWS's heap API (initialize, alloc, map, free, size, debug check, release). A `ContentStore`
has at least a budget. The `ReferenceStore` has nothing else, because streams keep references to
the caller's immutable bytes. A `HoldingStore` also copies payloads into its regions (an arena,
files, video memory), and copies them out when they are read.

Invariants: `0 <= used_bytes <= size_bytes`. A charge that does not fit changes nothing. A payload
that no region accepts changes nothing. The caller adds what an item costs beyond its bytes (see
`limits.ITEM_OVERHEAD_BYTES`). Stores have no lock: callers hold the client's lock.
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
    """The methods that the client needs of every store."""

    size_bytes: int
    used_bytes: int

    def charge(self, count: int) -> bool:
        """Reserve `count` bytes of the budget. Return False if they do not fit."""

    def release(self, count: int) -> None:
        """Return `count` reserved bytes to the budget."""

    def close(self) -> None:
        """Release all resources of the store, which must not be used afterwards."""


class ReferenceStore:
    """The store for payloads that are kept by reference; its budget is only a counter.

    Raises INVALID_ARG for a size below 1 MiB or above 1 TiB.
    """

    __slots__ = ("size_bytes", "used_bytes")

    def __init__(self, size_bytes: int) -> None:
        check_size(size_bytes)
        self.size_bytes = size_bytes
        self.used_bytes = 0

    def charge(self, count: int) -> bool:
        """Reserve `count` bytes of the budget. Return False if they do not fit."""
        used = self.used_bytes + count
        if used > self.size_bytes:
            return False
        self.used_bytes = used
        return True

    def release(self, count: int) -> None:
        """Return `count` reserved bytes to the budget."""
        self.used_bytes -= count
        assert self.used_bytes >= 0, "more was released than charged"

    @property
    def available_bytes(self) -> int:
        """Number of bytes left in the budget."""
        return self.size_bytes - self.used_bytes

    def close(self) -> None:
        """Do nothing: the caller owns the frames' bytes."""


def check_size(size_bytes: int) -> None:
    """Raise INVALID_ARG if the memory of a store is below 1 MiB or above 1 TiB."""
    if not limits.MIN_HEAP_SIZE_BYTES <= size_bytes <= limits.MAX_HEAP_SIZE_BYTES:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"StorageInfo gives the memory {size_bytes:,} bytes (storage_size, times spill_ratio"
            f" in a hybrid store); {limits.MIN_HEAP_SIZE_BYTES:,} to {limits.MAX_HEAP_SIZE_BYTES:,}"
            " are allowed",
        )


def compact(payload: Payload, size: int, alive: int) -> tuple[Payload, int]:
    """Return the payload to keep, and the number of bytes of memory that it takes.

    `payload` is `size` bytes in views of one object of `alive` bytes, which the views keep in
    memory. The payload is copied into one buffer if more than an eighth of that object is padding.
    It is also copied if it has so many pieces that they would take more memory than the bytes.
    """
    if (alive - size) * 8 <= alive and len(payload) <= limits.MAX_PAYLOAD_BUFFERS:
        return payload, max(size, alive)
    return (b"".join(payload),), size


class Region(Protocol):
    """A place that holds payloads. Each payload has a handle that is unique in its region."""

    def store(self, payload: Payload, size: int) -> int | None:
        """Copy a payload of `size` bytes in. Return its handle, or None if it does not fit.

        If the region fails, it raises a `KvsError` with a status of its own and keeps nothing.
        """

    def read(self, handle: int) -> bytes:
        """Return a copy of a payload. Raises a `KvsError` if the payload was damaged."""

    def free(self, handle: int) -> None:
        """Remove a payload."""

    def fits(self, size: int) -> bool:
        """Return whether a payload of `size` bytes would fit into the empty region."""

    def debug_check(self) -> None:
        """Raise HEAP_CORRUPTED if the data structures of the region are damaged."""

    def close(self) -> None:
        """Remove all payloads and release the resources of the region."""


class StoredPayload(Sequence[bytes]):
    """A payload in a region: a sequence of one buffer. Each access reads it from the region."""

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
        """Remove the payload from its region."""
        self._region.free(self._handle)


def _check_length(payload: Payload, size: int) -> None:
    """Raise BUFFER_TOO_SMALL or INVALID_ARG if a payload does not have exactly `size` bytes.

    A region reserves `size` bytes, and must not write or read beyond them.
    """
    count = sum(map(len, payload))
    if count > size:
        raise kvs_error(
            StatusCode.BUFFER_TOO_SMALL,
            f"the payload has {count} bytes, but only {size} were reserved",
        )
    if count < size:
        raise kvs_error(
            StatusCode.INVALID_ARG, f"the payload has {count} bytes, not {size} as declared"
        )


class HoldingStore(ReferenceStore):
    """A budget and a list of regions. A payload is stored in the first region with enough space.

    If a region fails (for example, the disk is full), the next one is used. `failure` is the error
    of the region that failed. It is None again once that region has accepted a payload.
    """

    __slots__ = ("_closed", "_failed", "_regions", "failure")

    def __init__(self, size_bytes: int, regions: Sequence[Region]) -> None:
        super().__init__(size_bytes)
        self._regions = tuple(regions)
        self._closed = False
        self._failed: Region | None = None
        self.failure: KvsError | None = None

    def keep(self, payload: Payload, size: int) -> Payload | None:
        """Copy a payload of `size` bytes into a region. Return the payload to use in its place.

        Return None if no region has enough space.

        Raises HEAP_NOT_INITIALIZED after `close`, BUFFER_TOO_SMALL for a payload of more than
        `size` bytes, and INVALID_ARG for a shorter one. Raises the error of a region that failed if
        no other has space. If it raises, nothing is kept.
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
        """Return whether a payload of `size` bytes would fit into an empty region that works."""
        working = (region for region in self._regions if region is not self._failed)
        return any(region.fits(size) for region in working)

    def frees_space(self, payload: Payload) -> bool:
        """Return whether removing a payload frees usable space: True if its region works."""
        return isinstance(payload, StoredPayload) and payload._region is not self._failed

    def free(self, payload: Payload) -> None:
        """Remove a payload that `keep` returned. Other payloads are ignored."""
        if isinstance(payload, StoredPayload):
            self._check_open()
            payload.free()

    def debug_check(self) -> None:
        """Check all blocks. Raises HEAP_CORRUPTED if one is damaged."""
        self._check_open()
        for region in self._regions:
            region.debug_check()

    def close(self) -> None:
        """Close all regions and remove their payloads, then raise the first error, if any."""
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
