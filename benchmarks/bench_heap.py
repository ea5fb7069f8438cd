"""The content stores: storing and releasing a payload, and the put path of a stream on each."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench_core import measure
from benchmarks.media import ns_per_call, payload
from benchmarks.report import Figure
from kvsproducer import client as core
from kvsproducer.heap import (
    ArenaStore,
    ContentStore,
    HoldingStore,
    HybridVideoMemoryStore,
    ReferenceStore,
)
from kvsproducer.heap.files import SpillFiles

ROOT = Path(__file__).resolve().parent.parent
SIZE = 128 << 20
MIB = 1 << 20
SIZES = (1_000, 20_000, 100_000)


@contextmanager
def stores() -> Iterator[dict[str, ContentStore]]:
    """Yield a store of each kind; the memory of hybrid stores is full, so that they spill."""
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, ContentStore] = {
            "reference": ReferenceStore(SIZE),
            "arena": ArenaStore(SIZE),
            "files": HoldingStore(SIZE, [SpillFiles(folder)]),
        }
        compiler = shutil.which("cc")
        if compiler is None:
            print("no C compiler: video memory is left out")
        else:
            library = f"{folder}/libvram.so"
            source = ROOT / "tests" / "heap" / "video_memory.c"
            header = f"-I{ROOT / 'docs' / 'reference'}"
            subprocess.run(
                [compiler, "-O2", "-shared", "-fPIC", header, "-o", library, source], check=True
            )
            video = HybridVideoMemoryStore(SIZE, 1, library)
            while video.keep([bytes(MIB // 4)], MIB // 4) and not video.video.used_bytes:
                pass
            made["video memory"] = video
        yield made
        for store in made.values():
            store.close()


def keep_and_free(store: ContentStore, data: bytes) -> Callable[[], None]:
    """Store and release one payload, as the put path does."""
    size = len(data)
    if not isinstance(store, HoldingStore):

        def count() -> None:
            store.charge(size)
            store.release(size)

        return count
    holding = store

    def hold() -> None:
        holding.charge(size)
        kept = holding.keep((data,), size)
        assert kept is not None
        holding.free(kept)
        holding.release(size)

    return hold


def run() -> list[Figure]:
    """Return the figures for each store and size."""
    rows: list[Figure] = []
    with stores() as made:
        for name, store in made.items():
            for size in SIZES:
                data = payload(size)
                value = ns_per_call(keep_and_free(store, data))
                rows.append(Figure("heap", f"{name}: take in + free, {size:,} B", value, "ns"))
        for name, store in made.items():
            for size in SIZES:
                what = f"{name}: put + get + ack, {size:,} B"
                rows.append(
                    Figure("heap", what, measure(size, core.NalAdaptation.NONE, store), "ns/frame")
                )
    return rows
