"""Select the content store that a `StorageInfo` describes.

Source: AWS's storage types; the limits are in `limits`. AWS's client uses the arena for all types,
with files in addition for HYBRID_FILE. With IN_MEM_CONTENT_STORE_ALLOC, AWS's client also puts its
own allocations into the arena. A Python program has no such allocations, so in this package that
type selects the plain arena. IN_MEM selects the store that keeps references. AWS's client cannot
select video memory, so HYBRID_VIDEO_MEMORY has a value that AWS does not use.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from kvsproducer.heap.arena import ArenaStore
from kvsproducer.heap.files import HybridFileStore
from kvsproducer.heap.store import ContentStore, ReferenceStore
from kvsproducer.heap.video_memory import DEFAULT_LIBRARY, HybridVideoMemoryStore
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["StorageType", "store_for"]


class StorageType(IntEnum):
    """Where the content store keeps frames. The values up to 2 are AWS's."""

    IN_MEM = 0  # keeps references: nothing is copied
    HYBRID_FILE = 1  # an arena of spill_ratio percent, then files under root_directory
    IN_MEM_CONTENT_STORE_ALLOC = 2  # one arena, allocated at the start: fixed memory
    ARENA = 2  # plain name of the same type
    HYBRID_VIDEO_MEMORY = 256  # an arena of spill_ratio percent, then vram_library


class StorageDescription(Protocol):
    """The fields that `store_for` reads. `client.StorageInfo` has them."""

    @property
    def storage_type(self) -> int:
        """A value of `StorageType`."""

    @property
    def storage_size(self) -> int:
        """Size of the whole store in bytes."""

    @property
    def spill_ratio(self) -> int:
        """Percentage of a hybrid store's size that is in memory."""

    @property
    def root_directory(self) -> str:
        """Directory below which a file store creates its own."""

    @property
    def vram_library(self) -> str:
        """Name or path of a video memory library, "" for AWS's default name."""


def store_for(info: StorageDescription) -> ContentStore:
    """Create the content store that `info` describes. The caller must close it.

    Raises HEAP_FLAGS_ERROR for an unknown type, or if a video memory library is given for a type
    that does not use one. Raises INVALID_ARG for less than 1 MiB in memory, and what the stores
    raise.
    """
    kind = info.storage_type
    if kind not in set(StorageType) or (
        info.vram_library and kind != StorageType.HYBRID_VIDEO_MEMORY
    ):
        raise kvs_error(
            StatusCode.HEAP_FLAGS_ERROR,
            f"storage type {kind!r} is unknown, or does not use the video memory library "
            f"{info.vram_library!r}",
        )
    size = info.storage_size
    if kind == StorageType.HYBRID_FILE:
        return HybridFileStore(size, info.spill_ratio, info.root_directory)
    if kind == StorageType.HYBRID_VIDEO_MEMORY:
        library = info.vram_library or DEFAULT_LIBRARY
        return HybridVideoMemoryStore(size, info.spill_ratio, library)
    if kind == StorageType.ARENA:
        return ArenaStore(size)
    return ReferenceStore(size)
