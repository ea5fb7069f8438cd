"""Payloads in video memory, which a library manages, and the hybrid store that uses it.

The library is loaded at run time. Source: the seven entry points that the section Heap of the Error
Code Reference names, with the symbols and types of AWS's hybrid heap (`docs/reference/vram.h`
describes them). Handles and sizes have 32 bits, and handle 0 means "no memory". Functions that
return a status return 0 for success.

This is an interface of the C producer. It is not in `compat`, because the producer creates the
store that the public `StorageInfo` selects, and the producer must not import `compat`.

The library is called with the client's lock held, so only one thread calls it at a time. Each
failure of the library has a status and leaves nothing allocated.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Final

from kvsproducer.heap.arena import memory_part
from kvsproducer.heap.store import HoldingStore, Payload
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["DEFAULT_LIBRARY", "HybridVideoMemoryStore", "VideoMemory"]

_S = StatusCode
DEFAULT_LIBRARY: Final = "libNativeVramAlloc.so"
_MAX_SIZE: Final = 0xFFFFFFFF  # sizes are 32 bits
_U32 = ctypes.c_uint32

# entry point, status if it is missing, result type, argument types
_SYMBOLS: Final = (
    ("native_region_init", _S.HEAP_VRAM_INIT_FUNC_SYMBOL, _U32, ()),
    ("native_region_alloc", _S.HEAP_VRAM_ALLOC_FUNC_SYMBOL, _U32, (_U32,)),
    ("native_region_free", _S.HEAP_VRAM_FREE_FUNC_SYMBOL, _U32, (_U32,)),
    ("native_region_lock", _S.HEAP_VRAM_LOCK_FUNC_SYMBOL, ctypes.c_void_p, (_U32,)),
    ("native_region_unlock_handle", _S.HEAP_VRAM_UNLOCK_FUNC_SYMBOL, _U32, (_U32,)),
    ("native_region_uninit", _S.HEAP_VRAM_UNINIT_FUNC_SYMBOL, _U32, ()),
    ("native_region_get_max", _S.HEAP_VRAM_GETMAX_FUNC_SYMBOL, _U32, ()),
)


class VideoMemory:
    """Video memory that the library with this name or path manages; it also assigns the handles.

    Raises HEAP_VRAM_LIB_MISSING if the library does not exist, HEAP_VRAM_LIB_REOPEN if it cannot be
    loaded, HEAP_VRAM_..._FUNC_SYMBOL for an entry point that it lacks, and HEAP_VRAM_INIT_FAILED.
    """

    __slots__ = (
        "_alloc",
        "_free",
        "_get_max",
        "_init",
        "_library",
        "_lock",
        "_sizes",
        "_uninit",
        "_unlock",
        "size_bytes",
        "used_bytes",
    )

    _alloc: Callable[[int], int]
    _free: Callable[[int], int]
    _lock: Callable[[int], int | None]
    _unlock: Callable[[int], int]

    def __init__(self, library: str = DEFAULT_LIBRARY) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            there = os.path.exists(library)
            status = _S.HEAP_VRAM_LIB_REOPEN if there else _S.HEAP_VRAM_LIB_MISSING
            raise kvs_error(status, str(error)) from error
        try:
            (
                self._init,
                self._alloc,
                self._free,
                self._lock,
                self._unlock,
                self._uninit,
                self._get_max,
            ) = self._entry_points()
            if result := self._init():
                raise kvs_error(
                    _S.HEAP_VRAM_INIT_FAILED, f"the library returned {result} at its start"
                )
        except KvsError:
            _close(self._library)
            raise
        self.size_bytes: int = self._get_max()
        self.used_bytes = 0
        self._sizes: dict[int, int] = {}

    def _entry_points(self) -> list[Callable[..., int]]:
        found: list[Callable[..., int]] = []
        for name, status, result, arguments in _SYMBOLS:
            function = getattr(self._library, name, None)
            if function is None:
                raise kvs_error(status, f"{self._library._name} has no {name}")
            function.restype, function.argtypes = result, arguments
            found.append(function)
        return found

    def store(self, payload: Payload, size: int) -> int | None:
        """Copy a payload in. Return its handle, or None if the memory has no space for it.

        Raises HEAP_VRAM_ALLOC_FAILED (also for 4 GiB and more), and what `read` raises. If it
        raises, nothing is kept.
        """
        if size > _MAX_SIZE:
            raise kvs_error(
                _S.HEAP_VRAM_ALLOC_FAILED, f"the payload has {size} bytes, which is 4 GiB or more"
            )
        if self.used_bytes + size > self.size_bytes:
            return None
        handle = self._alloc(size)
        if not handle:
            raise kvs_error(_S.HEAP_VRAM_ALLOC_FAILED, f"the library did not allocate {size} bytes")
        self._sizes[handle], self.used_bytes = size, self.used_bytes + size
        try:
            ctypes.memmove(self._map(handle), b"".join(payload), size)
            self._unmap(handle)
        except KvsError:
            self.free(handle)
            raise
        return handle

    def read(self, handle: int) -> bytes:
        """Return a copy of a payload. Raises HEAP_VRAM_MAP_FAILED or HEAP_VRAM_UNMAP_FAILED."""
        data = ctypes.string_at(self._map(handle), self._sizes[handle])
        self._unmap(handle)
        return data

    def _map(self, handle: int) -> int:
        address = self._lock(handle)
        if address is None:
            raise kvs_error(_S.HEAP_VRAM_MAP_FAILED, f"the library did not map handle {handle}")
        return address

    def _unmap(self, handle: int) -> None:
        if result := self._unlock(handle):
            raise kvs_error(
                _S.HEAP_VRAM_UNMAP_FAILED,
                f"the library returned {result} when handle {handle} was unmapped",
            )

    def free(self, handle: int) -> None:
        """Free a payload. If it raises HEAP_VRAM_FREE_FAILED, its memory stays allocated."""
        size = self._sizes.pop(handle)
        if result := self._free(handle):
            raise kvs_error(
                _S.HEAP_VRAM_FREE_FAILED,
                f"the library returned {result} when handle {handle} was freed",
            )
        self.used_bytes -= size

    def fits(self, size: int) -> bool:
        """Return whether a payload of `size` bytes would fit into the empty video memory."""
        return size <= self.size_bytes

    def debug_check(self) -> None:
        """Do nothing: the library has no function that checks its memory."""

    def close(self) -> None:
        """Free all payloads and unload the library.

        All steps are tried. If some fail, the first failure is raised: HEAP_VRAM_FREE_FAILED,
        HEAP_VRAM_UNINIT_FAILED or HEAP_LIBRARY_FREE_FAILED.
        """
        failures = [handle for handle in self._sizes if self._free(handle)]
        self._sizes.clear()
        uninit = self._uninit()
        closed = _close(self._library)
        if failures:
            raise kvs_error(
                _S.HEAP_VRAM_FREE_FAILED,
                f"the library did not free {len(failures)} handles, such as {failures[:5]}",
            )
        if uninit:
            raise kvs_error(_S.HEAP_VRAM_UNINIT_FAILED, f"the library returned {uninit} at its end")
        if closed:
            raise kvs_error(
                _S.HEAP_LIBRARY_FREE_FAILED,
                f"the library {self._library._name} was not unloaded: {closed}",
            )


def _close(library: ctypes.CDLL) -> int:
    """Unload a library. Return 0 for success."""
    unload = ctypes.CDLL(None).dlclose
    unload.argtypes = (ctypes.c_void_p,)
    return int(unload(library._handle))


class HybridVideoMemoryStore(HoldingStore):
    """A content store with `spill_ratio` percent of its size in memory, the rest in video memory.

    Raises INVALID_ARG if the memory part is below 1 MiB, HEAP_DIRECT_MEM_INIT if the operating
    system cannot allocate it, and what `VideoMemory` raises.
    """

    __slots__ = ("arena", "video")

    def __init__(self, size_bytes: int, spill_ratio: int, library: str = DEFAULT_LIBRARY) -> None:
        self.arena = memory_part(size_bytes, spill_ratio)
        self.video = VideoMemory(library)
        super().__init__(size_bytes, (self.arena, self.video))
