"""Provocations for the statuses of the content stores."""

from __future__ import annotations

from pathlib import Path

from tests.status_codes.place import Place, Provocation, Table

from kvsproducer import DeviceInfo, KvsError, Producer, StatusCode, StorageInfo
from kvsproducer.heap import Arena, ArenaStore, HybridFileStore, HybridVideoMemoryStore, store_for

_S = StatusCode
MIB = 1 << 20
UNLOADS_BADLY = """
import sys
from kvsproducer.heap import HybridVideoMemoryStore
from kvsproducer import KvsError
store = HybridVideoMemoryStore(2 << 20, 50, sys.argv[1])
try:
    store.close()
except KvsError as error:
    sys.exit(str(error))
"""


def video_memory(*defines: str) -> Provocation:
    """Store and release a payload in video memory, with a library compiled with these defines."""

    def provoke(place: Place) -> None:
        library = place.video_library(*defines)
        store = store_for(StorageInfo(256, 2 * MIB, 50, vram_library=library))
        assert isinstance(store, HybridVideoMemoryStore)
        try:
            assert store.keep([b"m" * (MIB - 100)], MIB - 100)
            payload = store.keep([b"v" * 900], 900)
            assert payload is not None
            store.free(payload)
        except KvsError:
            store.close()
            raise
        store.close()

    return provoke


def file_that_is_not_a_library(place: Place) -> None:
    broken = place.folder / "libbroken.so"
    broken.write_text("no library")
    HybridVideoMemoryStore(2 * MIB, 50, str(broken))


def unloading_fails(place: Place) -> object:
    """Run a process in which `dlclose` fails."""
    preload = place.video_library("FAIL_CLOSE")
    return place.run(UNLOADS_BADLY, place.video_library(), LD_PRELOAD=preload)


def memory_refused(place: Place) -> None:
    with place.memory_limit(2 << 30):
        HybridFileStore(8 << 30, 50, str(place.folder))


def stray_write(_: Place) -> None:
    store = ArenaStore(MIB)
    store.keep([b"a" * 100], 100)
    at = store.arena.memory.find(b"a" * 100)
    store.arena.memory[at + 100 : at + 101] = b"x"
    store.debug_check()


def used_after_close(_: Place) -> None:
    store = ArenaStore(MIB)
    store.close()
    store.keep([b"data"], 4)


def block_that_cannot_grow(_: Place) -> None:
    arena = Arena(MIB)
    first, _second = arena.allocate(100), arena.allocate(100)
    assert first is not None
    arena.resize(first, 200)


def truncated_file(place: Place) -> None:
    store = HybridFileStore(4 * MIB, 25, str(place.folder))
    assert store.keep([b"m" * (MIB - 100)], MIB - 100)
    payload = store.keep([b"x" * 1000], 1000)
    assert payload is not None
    (file,) = Path(store.files.directory).iterdir()
    file.write_bytes(file.read_bytes()[:500])
    list(payload)


def device_with_a_store_of_no_type(_: Place) -> None:
    info = DeviceInfo(storage_info=StorageInfo(storage_type=99))
    Producer(region_name="us-west-2", device_info=info)


TABLE: Table = {
    _S.HEAP_FLAGS_ERROR: device_with_a_store_of_no_type,
    _S.HEAP_NOT_INITIALIZED: used_after_close,
    _S.HEAP_CORRUPTED: stray_write,
    _S.HEAP_VRAM_LIB_MISSING: lambda _: HybridVideoMemoryStore(2 * MIB, 50, "libNoSuch.so"),
    _S.HEAP_VRAM_LIB_REOPEN: file_that_is_not_a_library,
    _S.HEAP_VRAM_INIT_FUNC_SYMBOL: video_memory("WITHOUT_INIT"),
    _S.HEAP_VRAM_ALLOC_FUNC_SYMBOL: video_memory("WITHOUT_ALLOC"),
    _S.HEAP_VRAM_FREE_FUNC_SYMBOL: video_memory("WITHOUT_FREE"),
    _S.HEAP_VRAM_LOCK_FUNC_SYMBOL: video_memory("WITHOUT_LOCK"),
    _S.HEAP_VRAM_UNLOCK_FUNC_SYMBOL: video_memory("WITHOUT_UNLOCK"),
    _S.HEAP_VRAM_UNINIT_FUNC_SYMBOL: video_memory("WITHOUT_UNINIT"),
    _S.HEAP_VRAM_GETMAX_FUNC_SYMBOL: video_memory("WITHOUT_GETMAX"),
    _S.HEAP_DIRECT_MEM_INIT: memory_refused,
    _S.HEAP_VRAM_INIT_FAILED: video_memory("FAIL_INIT"),
    _S.HEAP_LIBRARY_FREE_FAILED: unloading_fails,
    _S.HEAP_VRAM_ALLOC_FAILED: video_memory("FAIL_ALLOC"),
    _S.HEAP_VRAM_FREE_FAILED: video_memory("FAIL_FREE"),
    _S.HEAP_VRAM_MAP_FAILED: video_memory("FAIL_LOCK"),
    _S.HEAP_VRAM_UNMAP_FAILED: video_memory("FAIL_UNLOCK"),
    _S.HEAP_VRAM_UNINIT_FAILED: video_memory("FAIL_UNINIT"),
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    _S.INVALID_ALLOCATION_SIZE: lambda _: Arena(MIB).allocate(0),
    _S.HEAP_REALLOC_ERROR: block_that_cannot_grow,
    _S.HEAP_FILE_HEAP_FILE_CORRUPT: truncated_file,
}
