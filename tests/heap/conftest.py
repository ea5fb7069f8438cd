"""Stores of every kind, and a video memory library compiled as a test needs it."""

from __future__ import annotations

import shutil
import subprocess
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

HERE = Path(__file__).resolve().parent
HEADER = HERE.parents[1] / "docs" / "reference"
MIB = 1 << 20
KINDS = ("reference", "arena", "files", "video memory")


@pytest.fixture(scope="session")
def _libraries() -> dict[tuple[str, ...], Path]:
    return {}


@pytest.fixture
def video_library(
    tmp_path_factory: pytest.TempPathFactory, _libraries: dict[tuple[str, ...], Path]
) -> Callable[..., str]:
    """`video_library("FAIL_ALLOC", "MAX=9")`: the path of the library, compiled so."""

    def compiled(*defines: str) -> str:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler (cc or gcc): the video memory library cannot be compiled")
        if defines not in _libraries:
            path = tmp_path_factory.mktemp("vram") / "libvram.so"
            command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", f"-I{HEADER}", "-o"]
            flags = [f"-D{define}" for define in defines]
            source = HERE / "video_memory.c"
            subprocess.run([*command, path, *flags, source], check=True)
            _libraries[defines] = path
        return str(_libraries[defines])

    return compiled


@pytest.fixture
def make_store(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., ContentStore]:
    """`make_store(kind, size_bytes)`: a store; the hybrid ones have 1 MiB in memory."""

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
