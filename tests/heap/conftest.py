"""A fixture that creates stores of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.heap import (
    ArenaStore,
    ContentStore,
    HybridFileStore,
    HybridVideoMemoryStore,
    ReferenceStore,
)

MIB = 1 << 20
KINDS = ("reference", "arena", "files", "video memory")


@pytest.fixture
def make_store(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., ContentStore]:
    """Return `make_store(kind, size_bytes)`. Hybrid stores have 1 MiB in memory."""

    def make(kind: str, size_bytes: int) -> ContentStore:
        spill_ratio = -(-100 * MIB // size_bytes)
        if kind == "reference":
            return ReferenceStore(size_bytes)
        if kind == "arena":
            return ArenaStore(size_bytes)
        if kind == "files":
            return HybridFileStore(size_bytes, spill_ratio, str(tmp_path))
        library = request.getfixturevalue("video_library")()
        return HybridVideoMemoryStore(size_bytes, spill_ratio, library)

    return make
