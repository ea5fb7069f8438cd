"""Intact files end without an error, and files with missing bytes do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.client.frame import Frame
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.source import Source, open_source
from kvsproducer.status import KvsError, StatusCode

MakeClip = Callable[..., Path]
START = 1_700_000_000 * TICKS_PER_SECOND


def take(source: Source) -> list[Frame]:
    with source:
        return list(source.frames())


def count_more(path: Path, ending: str, more: int) -> bytearray:
    """Raise the number of frames in the header of an intact AVI.

    In an MP4, hide some sound behind an edit list that begins later and ends earlier.
    """
    data = bytearray(path.read_bytes())
    if ending == "avi":
        at = data.index(b"strh") + 8 + 32
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "little") + more).to_bytes(
            4, "little"
        )
    else:
        at = data.rindex(b"elst") + 12
        data[at : at + 4] = (1000).to_bytes(4, "big")
        data[at + 4 : at + 8] = (more * 1024).to_bytes(4, "big")
    return data


@pytest.mark.parametrize(("ending", "more"), [("avi", 1), ("avi", 75), ("mp4", 5)])
def test_frame_counts_of_headers_are_ignored(
    make_clip: MakeClip, tmp_path: Path, ending: str, more: int
) -> None:
    """An intact file ends without an error, whatever number of frames its header has."""
    clip = make_clip(ending, bframes=2, audio="aac")
    path = tmp_path / clip.name
    path.write_bytes(count_more(clip, ending, more))
    frames = take(open_source(path))
    assert sum(frame.track_id == 1 for frame in frames) == 75


@pytest.mark.parametrize("part", [0.3, 0.503, 0.8, 0.99])
@pytest.mark.parametrize(
    "ending", ["faststart", "open", "fragmented", "mkv", "ts", "avi", "flv", "wav"]
)
def test_missing_bytes_are_noticed(
    make_clip: MakeClip, remux: Callable[..., Path], tmp_path: Path, ending: str, part: float
) -> None:
    """For any container and place of the cut, an error follows the readable frames."""
    path = cut_file(make_clip, remux, tmp_path, ending, part)
    frames: list[Frame] = []
    with open_source(path) as source, pytest.raises(KvsError) as caught:
        for frame in source.frames():
            frames.append(frame)  # noqa: PERF402  what came before the error counts
    assert frames
    expected = {StatusCode.UNEXPECTED_EOF}
    if ending == "flv":  # has the length of its last packet only
        expected.add(StatusCode.MKV_INVALID_FRAME_DATA)
    assert caught.value.status in expected


def cut_file(
    make_clip: MakeClip, remux: Callable[..., Path], folder: Path, ending: str, part: float
) -> Path:
    """Write a truncated clip; `open` is an MP4 whose media box ends with the file."""
    if ending == "wav":
        whole = remux(make_clip("mov", audio="pcm_alaw"), "clip.wav", only="audio")
    elif ending in ("faststart", "open"):
        whole = remux(make_clip("mp4", bframes=2), "clip.mp4", movflags="faststart")
    elif ending == "fragmented":
        whole = remux(make_clip("mp4"), "clip.mp4", movflags="frag_keyframe+empty_moov")
    else:
        whole = make_clip(ending)
    data = bytearray(whole.read_bytes())
    if ending == "open":
        at = data.rindex(b"mdat")
        data[at - 4 : at] = bytes(4)
    path = folder / f"cut{whole.suffix}"
    path.write_bytes(data[: int(len(data) * part)])
    return path
