"""Bytes that FFmpeg skips in a damaged file are reported, but none of intact files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.sources import open_source
from kvsproducer.sources.unread import UnreadBytes
from kvsproducer.status import KvsError, StatusCode

MakeClip = Callable[..., Path]
CLUSTER = b"\x1f\x43\xb6\x75"


def read(path: Path) -> tuple[int, str]:
    """Return the number of frames, and the skipped places in the error at the end."""
    count = 0
    with open_source(path) as source:
        try:
            for _ in source.frames():
                count += 1
        except KvsError as error:
            if error.status is not StatusCode.READ_FILE_FAILED:
                raise
            return count, error.detail
    return count, ""


@pytest.fixture
def mkv(make_clip: MakeClip, remux: Callable[..., Path]) -> Path:
    """Return a Matroska file of several clusters."""
    clip = make_clip("mkv", audio="aac", bframes=2)
    return remux(clip, "parts.mkv", cluster_time_limit="500")


def damaged(path: Path, at: int, data: bytes) -> Path:
    """Return a copy of a file with other bytes at an offset."""
    whole = bytearray(path.read_bytes())
    whole[at : at + len(data)] = data
    copy = path.with_name(f"damaged{path.suffix}")
    copy.write_bytes(whole)
    return copy


@pytest.mark.parametrize("length", [4, 12, 200])
def test_lost_cluster_is_reported(mkv: Path, length: int) -> None:
    """FFmpeg continues at the next one without an error."""
    clusters = [m.start() for m in re.finditer(re.escape(CLUSTER), mkv.read_bytes())]
    count, said = read(damaged(mkv, clusters[2], b"\xff" * length))
    assert 0 < count < read(mkv)[0]
    found = re.search(r"skipped ([\d,]+) bytes from byte ([\d,]+) on", said)
    assert found is not None
    lost, at = (int(number.replace(",", "")) for number in found.groups())
    assert abs(at - clusters[2]) < 50
    assert abs(lost - (clusters[3] - clusters[2])) < 50


def test_zeros_inside_a_cluster_are_reported(mkv: Path) -> None:
    clusters = [m.start() for m in re.finditer(re.escape(CLUSTER), mkv.read_bytes())]
    middle = (clusters[1] + clusters[2]) // 2
    with open_source(damaged(mkv, middle, bytes(500))) as source:
        with pytest.raises(KvsError) as caught:
            list(source.frames())
    # A frame may be damaged too, and is reported first then.
    assert caught.value.status in (StatusCode.READ_FILE_FAILED, StatusCode.MKV_INVALID_FRAME_DATA)


@pytest.mark.parametrize("ending", ["mkv", "flv"])
@pytest.mark.parametrize("options", [{}, {"audio": "aac"}, {"audio": "aac", "bframes": 2}])
def test_intact_files_are_not_reported(
    make_clip: MakeClip, remux: Callable[..., Path], ending: str, options: dict[str, object]
) -> None:
    clip = remux(make_clip("mp4", **options), f"whole.{ending}")
    count, said = read(clip)
    assert (count > 70, said) == (True, "")


def test_elements_behind_the_media_are_accepted(mkv: Path, tmp_path: Path) -> None:
    """Attachments, chapters and padding are not damage."""
    extra = b"\xec\x50\x00" + bytes(4096)  # Void
    extra += bytes.fromhex("1941a469") + b"\x58\x00" + bytes(6144)  # Attachments
    longer = tmp_path / "longer.mkv"
    whole = bytearray(mkv.read_bytes())
    segment = whole.index(bytes.fromhex("18538067"))
    assert whole[segment + 4] == 1, "an 8-byte size"
    size = int.from_bytes(whole[segment + 5 : segment + 12], "big") + len(extra)
    whole[segment + 5 : segment + 12] = size.to_bytes(7, "big")
    longer.write_bytes(bytes(whole) + extra)
    assert read(longer) == read(mkv)


def test_appended_flv_file_is_reported(
    make_clip: MakeClip, remux: Callable[..., Path], tmp_path: Path
) -> None:
    """FFmpeg stops at the end of the first one."""
    clip = remux(make_clip("mp4", audio="aac"), "one.flv")
    joined = tmp_path / "joined.flv"
    joined.write_bytes(clip.read_bytes() * 2)
    count, said = read(joined)
    assert count == read(clip)[0]
    assert f"skipped byte {clip.stat().st_size:,}, where another FLV file begins" in said


def test_frames_that_share_a_block_leave_no_gap(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff" * 10_000)
    unread = UnreadBytes(str(path), flv=False)
    packets = [(100, 1300), (100, 1300), (100, 1300), (4110, 3950), (None, 9), (8100, 1800)]
    for position, size in packets:
        unread.packet(position, size)
    unread.end()
    assert unread.places == []
