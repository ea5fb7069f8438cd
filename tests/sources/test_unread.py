"""What FFmpeg passes over in a damaged file is said, and intact files are not suspected."""

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
    """How many frames come, and what is said at the end of what FFmpeg passed over."""
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
    """A Matroska file of several clusters."""
    clip = make_clip("mkv", audio="aac", bframes=2)
    return remux(clip, "parts.mkv", cluster_time_limit="500")


def damaged(path: Path, at: int, data: bytes) -> Path:
    """A copy of a file with other bytes at an offset."""
    whole = bytearray(path.read_bytes())
    whole[at : at + len(data)] = data
    copy = path.with_name(f"damaged{path.suffix}")
    copy.write_bytes(whole)
    return copy


@pytest.mark.parametrize("length", [4, 12, 200])
def test_a_cluster_that_cannot_be_found_is_said(mkv: Path, length: int) -> None:
    """FFmpeg goes on at the next one without an error."""
    clusters = [m.start() for m in re.finditer(re.escape(CLUSTER), mkv.read_bytes())]
    count, said = read(damaged(mkv, clusters[2], b"\xff" * length))
    assert 0 < count < read(mkv)[0]
    found = re.search(r"passed over ([\d,]+) bytes from byte ([\d,]+) on", said)
    assert found is not None
    lost, at = (int(number.replace(",", "")) for number in found.groups())
    assert abs(at - clusters[2]) < 50
    assert abs(lost - (clusters[3] - clusters[2])) < 50


def test_zeros_inside_a_cluster_are_said(mkv: Path) -> None:
    clusters = [m.start() for m in re.finditer(re.escape(CLUSTER), mkv.read_bytes())]
    middle = (clusters[1] + clusters[2]) // 2
    with open_source(damaged(mkv, middle, bytes(500))) as source:
        with pytest.raises(KvsError) as caught:
            list(source.frames())
    # A frame may be damaged too, and is said first then.
    assert caught.value.status in (StatusCode.READ_FILE_FAILED, StatusCode.MKV_INVALID_FRAME_DATA)


@pytest.mark.parametrize("ending", ["mkv", "flv"])
@pytest.mark.parametrize("options", [{}, {"audio": "aac"}, {"audio": "aac", "bframes": 2}])
def test_intact_files_are_not_suspected(
    make_clip: MakeClip, remux: Callable[..., Path], ending: str, options: dict[str, object]
) -> None:
    clip = remux(make_clip("mp4", **options), f"whole.{ending}")
    count, said = read(clip)
    assert (count > 70, said) == (True, "")


def test_elements_behind_the_media_are_no_damage(mkv: Path, tmp_path: Path) -> None:
    """Attachments, chapters and padding."""
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


def test_an_flv_file_that_another_follows_is_said(
    make_clip: MakeClip, remux: Callable[..., Path], tmp_path: Path
) -> None:
    """FFmpeg ends at the end of the first."""
    clip = remux(make_clip("mp4", audio="aac"), "one.flv")
    joined = tmp_path / "joined.flv"
    joined.write_bytes(clip.read_bytes() * 2)
    count, said = read(joined)
    assert count == read(clip)[0]
    assert f"passed over byte {clip.stat().st_size:,}, where another FLV file begins" in said


def test_frames_that_share_a_block_leave_no_gap(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff" * 10_000)
    unread = UnreadBytes(str(path), flv=False)
    packets = [(100, 1300), (100, 1300), (100, 1300), (4110, 3950), (None, 9), (8100, 1800)]
    for position, size in packets:
        unread.packet(position, size)
    unread.end()
    assert unread.places == []
