"""A part of the simulation with each store that holds the bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.simulation.world import World

from kvsproducer.heap import ArenaStore, ContentStore, HoldingStore
from kvsproducer.heap.files import SpillFiles
from kvsproducer.heap.video_memory import VideoMemory


@pytest.mark.parametrize("kind", ["arena", "files", "video memory"])
@pytest.mark.parametrize("seed", range(6))
def test_every_accepted_frame_is_stored_or_reported(
    seed: int, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The promise is kept under every failure, and the store is empty at the end."""
    made: list[ContentStore] = []

    def make(self: World, size: int) -> ContentStore:
        if kind == "arena":
            store: HoldingStore = ArenaStore(size)
        elif kind == "files":
            store = HoldingStore(size, [SpillFiles(str(tmp_path))])
        else:
            compiled: Callable[..., str] = request.getfixturevalue("video_library")
            store = HoldingStore(size, [VideoMemory(compiled("MAX=100000000"))])
        made.append(store)
        return store

    world = type("StoringWorld", (World,), {"make_store": make})(seed)
    world.run()
    (store,) = made
    assert isinstance(store, HoldingStore)
    store.debug_check()
    assert store.used_bytes == 0
    if kind == "files":
        (directory,) = tmp_path.iterdir()
        assert list(directory.iterdir()) == []
    store.close()
