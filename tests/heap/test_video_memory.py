"""Video memory through a C library: the status of each missing or failing entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.heap import HybridVideoMemoryStore
from kvsproducer.heap.video_memory import VideoMemory
from kvsproducer.status import KvsError, StatusCode

MIB = 1 << 20
Library = Callable[..., str]


def status_of(action: Callable[[], object]) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        action()
    return caught.value.status


def full_memory(library: str) -> HybridVideoMemoryStore:
    """Return a store whose 1 MiB of memory is full."""
    store = HybridVideoMemoryStore(2 * MIB, 50, library)
    assert store.keep([b"m" * (MIB - 100)], MIB - 100)
    return store


def test_memory_first_then_video_memory(video_library: Library) -> None:
    """Payloads can be read, freed memory is used again, and closing frees held payloads."""
    store = full_memory(video_library("MAX=1000"))
    first = store.keep([b"v" * 900], 900)
    assert first is not None
    assert list(first) == [b"v" * 900]
    assert store.video.used_bytes == 900
    assert store.keep([b"w" * 200], 200) is None  # no space left
    store.free(first)
    again = store.keep([b"one", b"two" * 100], 303)
    assert again is not None
    assert list(again) == [b"one" + b"two" * 100]
    store.debug_check()
    assert store.fits(MIB - 24)
    assert not store.fits(MIB + 1)
    store.close()


@pytest.mark.parametrize("entry", ["INIT", "ALLOC", "FREE", "LOCK", "UNLOCK", "UNINIT", "GETMAX"])
def test_each_missing_entry_point_has_its_status(video_library: Library, entry: str) -> None:
    """The status is raised when the store is created."""
    library = video_library(f"WITHOUT_{entry}")
    status = status_of(lambda: HybridVideoMemoryStore(2 * MIB, 50, library))
    assert status is StatusCode[f"HEAP_VRAM_{entry}_FUNC_SYMBOL"]


def test_missing_or_invalid_library(tmp_path: Path) -> None:
    """A library is missing by name or by path, or the file is not a library."""
    for name in ("libNoSuchVram.so", str(tmp_path / "libvram.so")):
        assert status_of(lambda name=name: VideoMemory(name)) is StatusCode.HEAP_VRAM_LIB_MISSING
    broken = tmp_path / "libbroken.so"
    broken.write_text("not a library")
    assert status_of(lambda: VideoMemory(str(broken))) is StatusCode.HEAP_VRAM_LIB_REOPEN


@pytest.mark.parametrize(
    ("define", "status"),
    [
        ("FAIL_ALLOC", StatusCode.HEAP_VRAM_ALLOC_FAILED),
        ("FAIL_LOCK", StatusCode.HEAP_VRAM_MAP_FAILED),
        ("FAIL_UNLOCK", StatusCode.HEAP_VRAM_UNMAP_FAILED),
    ],
)
def test_a_failed_call_refuses_the_payload(
    video_library: Library, define: str, status: StatusCode
) -> None:
    """Nothing of the payload is kept."""
    store = full_memory(video_library(define))
    assert status_of(lambda: store.keep([b"v" * 900], 900)) is status
    assert store.video.used_bytes == 0
    store.close()


def test_sizes_are_32_bits(video_library: Library) -> None:
    """4 GiB are refused, and not reduced to 32 bits."""
    video = VideoMemory(video_library())
    assert status_of(lambda: video.store([], 1 << 32)) is StatusCode.HEAP_VRAM_ALLOC_FAILED
    video.close()


def test_failed_init_is_reported(video_library: Library) -> None:
    """The status is raised when the store is created."""
    library = video_library("FAIL_INIT")
    assert status_of(lambda: VideoMemory(library)) is StatusCode.HEAP_VRAM_INIT_FAILED


def test_failed_free_is_reported(video_library: Library) -> None:
    """The status is raised when a payload is freed, and by `close` for payloads still held."""
    store = full_memory(video_library("FAIL_FREE"))
    first, second = (store.keep([b"v" * 900], 900) for _ in range(2))
    assert first is not None
    assert second is not None
    assert status_of(lambda: store.free(first)) is StatusCode.HEAP_VRAM_FREE_FAILED
    assert status_of(store.close) is StatusCode.HEAP_VRAM_FREE_FAILED
    store.close()  # the store is closed nevertheless


def test_failed_uninit_is_reported(video_library: Library) -> None:
    """The memory part is freed nevertheless."""
    store = HybridVideoMemoryStore(2 * MIB, 50, video_library("FAIL_UNINIT"))
    assert status_of(store.close) is StatusCode.HEAP_VRAM_UNINIT_FAILED
    assert store.arena.memory.closed


def test_failure_to_unload_the_library_is_reported(video_library: Library) -> None:
    """`dlclose` fails in a child process."""
    program = (
        "import sys\n"
        "from kvsproducer.heap import HybridVideoMemoryStore\n"
        "from kvsproducer.status import KvsError\n"
        f"store = HybridVideoMemoryStore({2 * MIB}, 50, sys.argv[1])\n"
        "try:\n"
        "    store.close()\n"
        "except KvsError as error:\n"
        "    print(error.status.name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, video_library()],
        env={**os.environ, "LD_PRELOAD": video_library("FAIL_CLOSE")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["HEAP_LIBRARY_FREE_FAILED"], done.stderr
