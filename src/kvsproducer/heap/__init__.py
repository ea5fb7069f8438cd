"""Content stores: hold the payloads of frames, within a fixed budget of bytes.

    store = store_for(StorageInfo(storage_type=StorageType.ARENA, storage_size=16 << 20))

The module `heap.store` defines the interfaces, and a store that only keeps references to payloads.
`heap.arena` has the fixed block of memory, `heap.files` and `heap.video_memory` the hybrid stores.
`heap.storage` selects one of the stores. These names are public, but a `Producer` creates its own
store from `DeviceInfo.storage_info`.

This package is in layer 2 (see ARCHITECTURE.md).
"""

from kvsproducer.heap.arena import Arena, ArenaStore
from kvsproducer.heap.files import HybridFileStore
from kvsproducer.heap.storage import StorageType, store_for
from kvsproducer.heap.store import ContentStore, HoldingStore, Payload, ReferenceStore
from kvsproducer.heap.video_memory import HybridVideoMemoryStore

__all__ = [
    "StorageType",
    "store_for",
    "ContentStore",
    "HoldingStore",
    "Payload",
    "ReferenceStore",
    "Arena",
    "ArenaStore",
    "HybridFileStore",
    "HybridVideoMemoryStore",
]
