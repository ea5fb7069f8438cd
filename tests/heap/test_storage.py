"""Which store a StorageInfo selects, and which combinations are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import kvsproducer as kvs
from kvsproducer import client
from kvsproducer.heap import (
    ArenaStore,
    HybridFileStore,
    HybridVideoMemoryStore,
    ReferenceStore,
    StorageType,
    store_for,
)

MIB = 1 << 20


def test_each_type_has_its_store(tmp_path: Path, video_library: Callable[..., str]) -> None:
    """The store has the given size, and the given part of it in memory."""
    for kind, store_class in (
        (StorageType.IN_MEM, ReferenceStore),
        (StorageType.IN_MEM_CONTENT_STORE_ALLOC, ArenaStore),
        (StorageType.HYBRID_FILE, HybridFileStore),
        (StorageType.HYBRID_VIDEO_MEMORY, HybridVideoMemoryStore),
    ):
        video = kind is StorageType.HYBRID_VIDEO_MEMORY
        info = kvs.StorageInfo(
            kind, 4 * MIB, 50, str(tmp_path), vram_library=video_library() if video else ""
        )
        store = store_for(info)
        assert type(store) is store_class
        assert store.size_bytes == 4 * MIB
        if isinstance(store, HybridFileStore | HybridVideoMemoryStore):
            assert store.arena.size_bytes == 2 * MIB
        store.close()


def test_types_have_awss_values_and_names() -> None:
    """The names of types work in configuration files. AWS has no value for video memory."""
    assert [StorageType(value).name for value in (0, 1, 2)] == [
        "IN_MEM",
        "HYBRID_FILE",
        "IN_MEM_CONTENT_STORE_ALLOC",
    ]
    info = kvs.StorageInfo.from_dict({"storage_type": "arena", "storage_size": 2 * MIB})
    assert info.storage_type is StorageType.ARENA is StorageType.IN_MEM_CONTENT_STORE_ALLOC


@pytest.mark.parametrize(
    "info",
    [
        kvs.StorageInfo(storage_type=7),  # type: ignore[arg-type]
        kvs.StorageInfo(storage_type=StorageType.ARENA, vram_library="libvram.so"),
    ],
)
def test_impossible_combinations_are_refused(info: kvs.StorageInfo) -> None:
    """Refuse an unknown type, and a library with a type that does not use one."""
    with pytest.raises(kvs.KvsError) as caught:
        store_for(info)
    assert caught.value.status is kvs.StatusCode.HEAP_FLAGS_ERROR


def test_missing_video_memory_library_is_reported_by_name() -> None:
    """A machine without the library raises HEAP_VRAM_LIB_MISSING with AWS's name of it."""
    info = kvs.StorageInfo(StorageType.HYBRID_VIDEO_MEMORY, 2 * MIB, 50)
    with pytest.raises(kvs.KvsError, match="libNativeVramAlloc") as caught:
        store_for(info)
    assert caught.value.status is kvs.StatusCode.HEAP_VRAM_LIB_MISSING


def test_core_creates_only_the_reference_store() -> None:
    """A core without a store refuses other types instead of silently using memory."""
    info = kvs.DeviceInfo(storage_info=kvs.StorageInfo(StorageType.HYBRID_FILE, spill_ratio=50))
    with pytest.raises(kvs.KvsError) as caught:
        client.Client(info, now=0, dice=lambda sides: 0)
    assert caught.value.status is kvs.StatusCode.INVALID_ARG
