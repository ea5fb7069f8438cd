"""The arena: first fit, splitting, merging, guards, and the status for a damaged block."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.heap import Arena, ArenaStore, HybridFileStore
from kvsproducer.status import KvsError, StatusCode

MIB = 1 << 20
OVERHEAD = 24  # guard and size before the payload, guard behind it; blocks are multiples of 16


def status_of(action: Callable[[], object]) -> StatusCode:
    with pytest.raises(KvsError) as caught:
        action()
    return caught.value.status


def test_store_read_and_free() -> None:
    """Several buffers become one block, and freeing it frees all of its bytes."""
    arena = Arena(MIB)
    handle = arena.store([b"one", memoryview(b"two"), b""], 6)
    assert handle is not None
    assert arena.read(handle) == b"onetwo"
    assert arena.free_bytes == MIB - 32
    arena.free(handle)
    assert arena.free_bytes == MIB
    arena.debug_check()
    arena.close()


def test_first_fitting_block_is_used_and_split() -> None:
    """A gap is used before the end of the arena, and the rest of the gap stays free."""
    arena = Arena(MIB)
    first, second, third = (arena.allocate(1000) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    arena.free(second)
    small = arena.allocate(100)
    assert small == second
    assert arena.allocate(800) == second + 128  # 100 + OVERHEAD, rounded up
    large = arena.allocate(2000)
    assert large is not None
    assert large > third
    arena.debug_check()


def test_rest_too_small_to_split_stays_with_its_block() -> None:
    """A rest smaller than a block of 16 bytes is not split off."""
    arena = Arena(MIB)
    first = arena.allocate(1000 - OVERHEAD + 24)
    arena.allocate(1000)
    assert first is not None
    before = arena.free_bytes
    arena.free(first)
    again = arena.allocate(980)
    assert again == first
    assert arena.free_bytes == before
    arena.debug_check()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)])
def test_freed_neighbours_merge(order: tuple[int, ...]) -> None:
    """Blocks freed in any order merge, so the arena is one free block again."""
    arena = Arena(MIB)
    handles = [arena.allocate(1000) for _ in range(3)]
    for index in order:
        arena.free(handles[index] or 0)
        arena.debug_check()
    whole = arena.allocate(MIB - OVERHEAD)
    assert whole is not None
    assert arena.free_bytes == 0
    assert arena.allocate(1) is None


@pytest.mark.parametrize("seed", range(5))
def test_any_sequence_keeps_every_payload(seed: int) -> None:
    """Random sizes and lifetimes: no blocks overlap, and all of the arena is free at the end."""
    dice = random.Random(seed)
    arena = Arena(MIB)
    held: dict[int, bytes] = {}
    for number in range(3000):
        if held and dice.random() < 0.45:
            handle = dice.choice(list(held))
            assert arena.read(handle) == held.pop(handle)
            arena.free(handle)
        else:
            data = number.to_bytes(4, "big") * dice.randrange(1, 1500)
            new = arena.store([data], len(data))
            if new is not None:
                held[new] = data
        if number % 100 == 0:
            arena.debug_check()
    assert all(arena.read(handle) == data for handle, data in held.items())
    for handle in held:
        arena.free(handle)
    assert arena.allocate(MIB - OVERHEAD) is not None


@pytest.mark.parametrize("size", [0, -1, 2**60 - 1])
def test_impossible_sizes_are_refused(size: int) -> None:
    """`allocate` and `resize` raise INVALID_ALLOCATION_SIZE."""
    arena = Arena(MIB)
    handle = arena.allocate(10)
    assert handle is not None
    assert status_of(lambda: arena.allocate(size)) is StatusCode.INVALID_ALLOCATION_SIZE
    assert status_of(lambda: arena.resize(handle, size)) is StatusCode.INVALID_ALLOCATION_SIZE


def test_a_block_is_resized_in_place() -> None:
    """A block can shrink, and grow into the free block behind it. Its content stays."""
    arena = Arena(MIB)
    handle = arena.store([b"x" * 1000], 1000)
    assert handle is not None
    arena.resize(handle, 100)
    assert arena.read(handle) == b"x" * 100
    arena.debug_check()
    arena.resize(handle, 5000)
    assert len(arena.read(handle)) == 5000
    arena.debug_check()
    following = arena.allocate(16)
    assert following is not None
    arena.resize(handle, 4999)  # within its block
    assert len(arena.read(handle)) == 4999
    arena.debug_check()
    assert status_of(lambda: arena.resize(handle, 6000)) is StatusCode.HEAP_REALLOC_ERROR
    assert len(arena.read(handle)) == 4999
    arena.free(following)
    arena.free(handle)
    assert arena.free_bytes == MIB


def test_a_block_freed_twice_is_corruption() -> None:
    """As in AWS's heap, freeing a block twice is corruption, and its handle is invalid."""
    arena = Arena(MIB)
    handle = arena.allocate(10)
    assert handle is not None
    arena.free(handle)
    assert status_of(lambda: arena.free(handle)) is StatusCode.HEAP_CORRUPTED
    assert status_of(lambda: arena.read(handle)) is StatusCode.INVALID_HANDLE_ERROR
    assert status_of(lambda: arena.resize(handle, 9)) is StatusCode.INVALID_HANDLE_ERROR


@pytest.mark.parametrize(
    ("offset", "content"),
    [(-16, b"\0"), (-8, b"\xff"), (100, b"\0")],
    ids=["guard before", "size", "one byte behind the payload"],
)
def test_a_stray_write_is_found(offset: int, content: bytes) -> None:
    """`debug_check` and reading the block raise HEAP_CORRUPTED. Other blocks can be read."""
    store = ArenaStore(MIB)
    payload, other = (store.keep([b"a" * 100], 100) for _ in range(2))
    assert payload is not None
    assert other is not None
    store.debug_check()
    at = store.arena.memory.find(b"a" * 100) + offset
    store.arena.memory[at : at + 1] = content
    assert status_of(store.debug_check) is StatusCode.HEAP_CORRUPTED
    assert status_of(lambda: list(payload)) is StatusCode.HEAP_CORRUPTED
    assert list(other) == [b"a" * 100]
    store.close()


def test_too_little_memory_is_reported(tmp_path: Path) -> None:
    """A 4 GiB arena in a process limited to 2 GiB fails, and so does that of a hybrid store."""
    limit = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (2 << 30), limit[1]))
    try:
        assert status_of(lambda: Arena(4 << 30)) is StatusCode.NOT_ENOUGH_MEMORY
        hybrid = status_of(lambda: HybridFileStore(8 << 30, 50, str(tmp_path)))
        assert hybrid is StatusCode.HEAP_DIRECT_MEM_INIT
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


@pytest.mark.parametrize("size", [MIB - 1, 1024 * 1024 * MIB + 1])
def test_sizes_are_limited(size: int) -> None:
    """An arena has 1 MiB to 1 TiB."""
    assert status_of(lambda: Arena(size)) is StatusCode.INVALID_ARG
