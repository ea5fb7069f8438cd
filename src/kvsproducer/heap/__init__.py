"""Content stores: where the payload of frames is kept, and the budget that bounds it.

Floor 2. `store` has the interface and the reference store, which keeps references to the caller's
immutable bytes and only accounts for them.
"""

from kvsproducer.heap.store import ContentStore, ReferenceStore

__all__ = ["ContentStore", "ReferenceStore"]
