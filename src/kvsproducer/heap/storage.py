"""Which content store a `StorageInfo` asks for.

Facts: AWS's storage types, limits from `limits`. AWS's client gives the arena for all of them (with
files behind it for HYBRID_FILE), and IN_MEM_CONTENT_STORE_ALLOC moves all of its own allocations
there too; a Python program has no allocations of its own to move, so that is the arena here, and
IN_MEM is the store by reference. Video memory, which AWS's client cannot choose, has a value that
AWS does not use.
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
    """Where the content store keeps frames; the values up to 2 are AWS's."""

    IN_MEM = 0  # by reference: nothing is copied
    HYBRID_FILE = 1  # an arena of spill_ratio percent, then files under root_directory
    IN_MEM_CONTENT_STORE_ALLOC = 2  # one arena, taken at the start: fixed memory
    ARENA = 2  # what that plainly is
    HYBRID_VIDEO_MEMORY = 256  # an arena of spill_ratio percent, then vram_library


class StorageDescription(Protocol):
    """What `store_for` reads; `client.StorageInfo` is one."""

    @property
    def storage_type(self) -> int:
        """A `StorageType`."""

    @property
    def storage_size(self) -> int:
        """In bytes, of everything."""

    @property
    def spill_ratio(self) -> int:
        """Percent of a hybrid store's size that is in memory."""

    @property
    def root_directory(self) -> str:
        """Of a file store."""

    @property
    def vram_library(self) -> str:
        """Name or path of a video memory library; empty for AWS's name."""


def store_for(info: StorageDescription) -> ContentStore:
    """The content store that was asked for; the caller closes it.

    Raises HEAP_FLAGS_ERROR for a type that there is not, or a video memory library with a type that
    has none, INVALID_ARG for less than 1 MiB in memory, and what the stores raise.
    """
    kind = info.storage_type
    if kind not in set(StorageType) or (
        info.vram_library and kind != StorageType.HYBRID_VIDEO_MEMORY
    ):
        raise kvs_error(
            StatusCode.HEAP_FLAGS_ERROR,
            f"storage type {kind!r}, video memory library {info.vram_library!r}",
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
