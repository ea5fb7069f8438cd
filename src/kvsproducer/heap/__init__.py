"""Content stores: hold the payloads of frames, within a fixed budget of bytes.

    store = store_for(StorageInfo(storage_type=StorageType.ARENA, storage_size=16 << 20))

`store` has the interfaces and the store that keeps references, `arena` the fixed block of memory,
`files` and `video_memory` the hybrid stores, and `storage` selects one of them. These names are
public, but a `Producer` creates its own store from `DeviceInfo.storage_info`. Floor 2.
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
