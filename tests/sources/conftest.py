"""Clips made with FFmpeg, one for each container and codec, once per test run."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from kvsproducer.sources.pyav import PatternReader, write_clip
from kvsproducer.sources.spec import PatternSpec

MakeClip = Callable[..., Path]


def write_raw(path: Path, pattern: PatternSpec) -> None:
    """Write plain Annex-B with parameter sets first, as a camera's encoder writes to a file."""
    reader = PatternReader(pattern)
    data = reader.tracks[0].extradata + b"".join(packet.data for packet in reader.packets())
    path.write_bytes(data)


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """Return `make_clip("mp4", bframes=2, audio="aac")`: a 3 s clip, one key frame per second."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[tuple[object, ...], Path] = {}

    def make(ending: str, **options: object) -> Path:
        key = (ending, *sorted(options.items()))
        if key not in made:
            path = folder / f"clip{len(made)}.{ending}"
            values = {
                "duration_s": Fraction(3),
                "rate": Fraction(25),
                "width": 160,
                "height": 120,
                "gop": 25,
            }
            pattern = PatternSpec(**{**values, **options})
            if ending in ("h264", "h265"):
                write_raw(path, pattern)
            else:
                write_clip(str(path), pattern)
            made[key] = path
        return made[key]

    return make


@pytest.fixture
def codec_threads() -> Iterator[Callable[[], int]]:
    """Return a function that counts FFmpeg's threads. Garbage collection is off meanwhile."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("FFmpeg and x264 start no threads where they see one CPU only")
    gc.collect()
    gc.disable()
    yield lambda: len(os.listdir("/proc/self/task")) - threading.active_count()
    gc.enable()


@pytest.fixture
def remux(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies a clip packet by packet, with FFmpeg options and changes.

    `only` names the one kind of track that is copied.
    """

    def copy(
        source: Path,
        name: str,
        change: Callable[[av.Packet, int], bool] = lambda packet, number: True,
        only: str = "",
        **options: str,
    ) -> Path:
        target = tmp_path / name
        with av.open(str(source)) as read, av.open(str(target), "w", options=options) as written:
            copied = [s for s in read.streams if only in ("", s.type)]
            streams = {s.index: written.add_stream_from_template(s) for s in copied}
            numbers = dict.fromkeys(streams, 0)
            for packet in read.demux():
                index = packet.stream.index
                if index not in streams or not packet.size or not change(packet, numbers[index]):
                    continue
                numbers[index] += 1
                packet.stream = streams[index]
                written.mux(packet)
        return target

    return copy
