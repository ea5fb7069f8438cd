"""Content stores: where the payload of frames is kept, and the budget that bounds it.

    store = store_for(StorageInfo(storage_type=StorageType.ARENA, storage_size=16 << 20))

Floor 2. `store` has the interfaces and the reference store, `arena` the fixed block of memory,
`files` and `video_memory` the hybrid stores, `storage` the choice among them. These names are
public; a `Producer` makes its store itself, from `DeviceInfo.storage_info`.
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
