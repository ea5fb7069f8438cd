"""Properties of a file that KVS does not store are reported, or carried in the video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.h264_fields import coded

from kvsproducer.client.frame import Frame
from kvsproducer.sources.source import Source, open_source

MakeClip = Callable[..., Path]
_TURNED = [0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 120 << 16, 0, 1 << 30]


def take(source: Source) -> list[Frame]:
    with source:
        return list(source.frames())


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_rotation_is_reported(make_clip: MakeClip, tmp_path: Path, codec: str) -> None:
    """A phone held upright writes a matrix into the track header instead of rotating pixels."""
    clip = make_clip("mp4", codec=codec)
    data = bytearray(clip.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = b"".join(value.to_bytes(4) for value in _TURNED)
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    source = open_source(path)
    assert len(source.warnings) == 1
    assert "turned.mp4 has a rotation of " in source.warnings[0]
    assert "90 degrees" in source.warnings[0]
    assert len(take(source)) == 75
    assert open_source(clip).warnings == []


def test_pixel_aspect_is_reported(make_clip: MakeClip, tmp_path: Path) -> None:
    """The container's ratio is reported if it differs from that of the video, which is stored."""
    data = bytearray(make_clip("mp4").read_bytes())
    box = (16).to_bytes(4) + b"pasp" + (4).to_bytes(4) + (3).to_bytes(4)
    at = end = 0
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        at = data.index(name, at)
        size = int.from_bytes(data[at - 4 : at])
        data[at - 4 : at] = (size + len(box)).to_bytes(4)
        end = at - 4 + size
    data[end:end] = box
    path = tmp_path / "wide.mp4"
    path.write_bytes(data)
    source = open_source(path)
    assert len(source.warnings) == 1
    assert "pixels with an aspect ratio of 4/3" in source.warnings[0]
    assert "h264_metadata=sample_aspect_ratio=4/3" in source.warnings[0]


def test_change_of_the_picture_size_is_reported(make_clip: MakeClip, tmp_path: Path) -> None:
    """The warning has the frame and the time, and every picture is put."""
    small, large = (make_clip("h264", bframes=0, width=w) for w in (160, 320))
    path = tmp_path / "joined.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    source = open_source(path)
    assert (source.tracks[0].width, source.warnings) == (160, [])
    assert len(take(source)) == 150
    assert len(source.warnings) == 1
    assert "changes from 160x120 to 320x120 at video frame 75, 3.0" in source.warnings[0]


def test_second_description_of_the_track_is_put_into_the_video(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    """FLV files, and MP4 files with several descriptions, change the parameter sets."""
    first, second = (make_clip("flv", bframes=0, width=w).read_bytes() for w in (160, 320))
    path = tmp_path / "joined.flv"
    path.write_bytes(first + later(second[13:], 3000))
    source = open_source(path)
    frames = take(source)
    video = [frame.data for frame in frames if frame.track_id == 1]
    assert len(video) == 150
    sets = [data[4] & 31 for data in (video[0], video[75])]
    assert sets == [6, 7]  # the second one begins with its SPS
    assert "changes from 160x120 to 320x120" in source.warnings[0]


def later(tags: bytes, milliseconds: int) -> bytes:
    """Return FLV tags with later times."""
    out, at = bytearray(tags), 0
    while at + 11 < len(out):
        size = int.from_bytes(out[at + 1 : at + 4])
        time = int.from_bytes(out[at + 4 : at + 7]) + milliseconds
        out[at + 4 : at + 7] = time.to_bytes(3)
        at += size + 15
    return bytes(out)


def test_raw_fields_have_no_warnings(tmp_path: Path) -> None:
    """A raw file has no container with such properties."""
    path = tmp_path / "clip.h264"
    path.write_bytes(b"".join(unit.data for unit in coded("IPPP", time_scale=50)))
    source = open_source(path)
    take(source)
    assert source.warnings == []
