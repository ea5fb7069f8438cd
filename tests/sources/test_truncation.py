"""Truncated files are detected from their own bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.sources.truncation import find_cut

MakeClip = Callable[..., Path]


def cut_to(path: Path, folder: Path, part: float) -> Path:
    data = path.read_bytes()
    shorter = folder / f"cut{path.suffix}"
    shorter.write_bytes(data[: int(len(data) * part)])
    return shorter


ENDINGS = ["mp4", "mov", "mkv", "ts", "m2ts", "avi", "flv", "h264"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_complete_files_have_no_cut(make_clip: MakeClip, ending: str) -> None:
    """No cut is found in a complete file of any container."""
    assert find_cut(str(make_clip(ending))) is None


@pytest.mark.parametrize("ending", ["mkv", "ts"])
def test_truncated_file_is_playable_up_to_the_cut(
    make_clip: MakeClip, tmp_path: Path, ending: str
) -> None:
    """MKV and TS can be read up to the byte where they end."""
    whole = make_clip(ending)
    shorter = cut_to(whole, tmp_path, 0.503)
    cut = find_cut(str(shorter))
    assert cut is not None
    assert cut.playable
    assert cut.offset == shorter.stat().st_size
    if ending == "mkv":
        assert cut.offset + cut.missing == whole.stat().st_size


def test_mp4_without_its_index_is_not_playable(make_clip: MakeClip, tmp_path: Path) -> None:
    """This is the usual interrupted recording: the moov box would have been the last."""
    cut = find_cut(str(cut_to(make_clip("mp4"), tmp_path, 0.5)))
    assert cut is not None
    assert not cut.playable
    assert "mdat" in cut.reason


def test_mp4_with_its_index_first_is_playable(
    make_clip: MakeClip, remux: Callable[..., Path], tmp_path: Path
) -> None:
    """With the moov box first, the frames before the cut can be read."""
    front = remux(make_clip("mp4"), "front.mp4", movflags="faststart")
    assert find_cut(str(front)) is None
    cut = find_cut(str(cut_to(front, tmp_path, 0.5)))
    assert cut is not None
    assert cut.playable
    assert cut.offset + cut.missing == front.stat().st_size


def test_truncated_m2ts_and_avi(make_clip: MakeClip, tmp_path: Path) -> None:
    """Packets of 192 bytes, and the chunk with the media of an AVI."""
    cut = find_cut(str(cut_to(make_clip("m2ts"), tmp_path, 0.503)))
    assert cut is not None
    assert (cut.playable, cut.reason) == (True, "the last TS packet is incomplete")
    whole = make_clip("avi")
    cut = find_cut(str(cut_to(whole, tmp_path, 0.5)))
    assert cut is not None
    assert cut.reason == "the 'movi' chunk is incomplete"
    movi = whole.read_bytes().index(b"movi")
    length = int.from_bytes(whole.read_bytes()[movi - 4 : movi], "little")
    assert cut.offset + cut.missing == movi + length


@pytest.mark.parametrize("size", ["true", 0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_wav_of_unknown_size_is_complete(tmp_path: Path, size: int | str) -> None:
    """Streamed WAV has no size, or one too large for any file; only a plausible one counts."""
    body = bytes(1600)
    length = len(body) if isinstance(size, str) else size
    head = b"RIFF\xff\xff\xff\xffWAVEfmt " + (18).to_bytes(4, "little") + bytes(18)
    path = tmp_path / "sound.wav"
    path.write_bytes(head + b"data" + length.to_bytes(4, "little") + body)
    assert find_cut(str(path)) is None
    path.write_bytes(path.read_bytes()[:-100])
    cut = find_cut(str(path))
    assert (cut is not None) == isinstance(size, str)
    assert cut is None or cut.missing == 100


@pytest.mark.parametrize("part", [0.3, 0.503, 0.7, 0.95])
def test_live_matroska_is_checked_by_elements(
    make_clip: MakeClip, remux: Callable[..., Path], tmp_path: Path, part: float
) -> None:
    """Its Segment has no size, but its Clusters or their blocks have."""
    live = remux(make_clip("mkv"), "live.mkv", live="1", cluster_time_limit="500")
    assert find_cut(str(live)) is None
    data = live.read_bytes()
    open_ended = data.replace(b"\x1f\x43\xb6\x75\x40", b"\x1f\x43\xb6\x75\x7f")
    assert open_ended.count(b"\x1f\x43\xb6\x75") > 4
    live.write_bytes(data + bytes(50))
    assert find_cut(str(live)) is None, "padding"
    live.write_bytes(data)
    cut = find_cut(str(cut_to(live, tmp_path, part)))
    assert cut is not None
    assert cut.playable


def test_cluster_of_unknown_size_is_checked_by_blocks(tmp_path: Path) -> None:
    """GetMedia's own responses have such Clusters. The truncated block is found."""
    block = b"\xa3\x84\x81\0\0\x80"
    data = UNKNOWN_SIZE + b"\x1f\x43\xb6\x75\xff\xe7\x81\0" + block * 3
    path = tmp_path / "live.mkv"
    path.write_bytes(data)
    assert find_cut(str(path)) is None
    path.write_bytes(data[:-1])
    cut = find_cut(str(path))
    assert cut is not None
    assert (cut.offset, cut.missing) == (len(data) - 1, 1)
    path.write_bytes(data[:-5])
    assert find_cut(str(path)) is not None


def test_fragment_without_its_media(
    make_clip: MakeClip, remux: Callable[..., Path], tmp_path: Path
) -> None:
    """A fragmented MP4 that ends directly after a 'moof' box."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = remux(make_clip("mp4"), "fragments.mp4", **options)
    assert find_cut(str(path)) is None
    data = path.read_bytes()
    last = data.rindex(b"mdat") - 4
    path.write_bytes(data[:last])
    cut = find_cut(str(path))
    assert cut is not None
    assert cut.playable
    assert "mdat" in cut.reason


@pytest.mark.parametrize(("ending", "junk"), [("mp4", bytes(4)), ("ts", bytes(100))])
def test_appended_bytes_are_not_a_cut(
    make_clip: MakeClip, tmp_path: Path, ending: str, junk: bytes
) -> None:
    """Padding after the last box or packet is not a cut."""
    path = tmp_path / "padded"
    path.write_bytes(make_clip(ending).read_bytes() + junk)
    assert find_cut(str(path)) is None


def test_still_picture_has_no_cut(tmp_path: Path) -> None:
    """HEIF and AVIF files have no 'moov' box."""
    path = tmp_path / "still.avif"
    path.write_bytes(b"\0\0\0\x0cftypavif\0\0\0\x08meta")
    assert find_cut(str(path)) is None


EBML = b"\x1a\x45\xdf\xa3"
UNKNOWN_SIZE = EBML + b"\x80\x18\x53\x80\x67\x01" + b"\xff" * 7


@pytest.mark.parametrize("data", [b"", EBML, b"hello\n" * 100, bytes(1000), UNKNOWN_SIZE])
def test_unknown_formats_have_no_cut(tmp_path: Path, data: bytes) -> None:
    """Other bytes, and a Segment of unknown size, are never reported as truncated."""
    path = tmp_path / "data.bin"
    path.write_bytes(data)
    assert find_cut(str(path)) is None
