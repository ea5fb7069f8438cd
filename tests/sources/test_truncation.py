"""Files that were cut off say so in their own bytes."""

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


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "ts", "h264"])
def test_whole_files_are_whole(make_clip: MakeClip, ending: str) -> None:
    """No cut is seen in a whole file of any container."""
    assert find_cut(str(make_clip(ending))) is None


@pytest.mark.parametrize("ending", ["mkv", "ts"])
def test_a_cut_file_is_playable_up_to_the_cut(
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


def test_an_mp4_without_its_index_is_not_playable(make_clip: MakeClip, tmp_path: Path) -> None:
    """The usual recording that was cut off: the moov box was to come last."""
    cut = find_cut(str(cut_to(make_clip("mp4"), tmp_path, 0.5)))
    assert cut is not None
    assert not cut.playable
    assert "mdat" in cut.reason


def test_an_mp4_with_its_index_in_front_is_playable(
    make_clip: MakeClip, remux: Callable[..., Path], tmp_path: Path
) -> None:
    """With the moov box in front, the frames before the cut can be read."""
    front = remux(make_clip("mp4"), "front.mp4", movflags="faststart")
    assert find_cut(str(front)) is None
    cut = find_cut(str(cut_to(front, tmp_path, 0.5)))
    assert cut is not None
    assert cut.playable
    assert cut.offset + cut.missing == front.stat().st_size


EBML = b"\x1a\x45\xdf\xa3"
UNKNOWN_SIZE = EBML + b"\x80\x18\x53\x80\x67\x01" + b"\xff" * 7


@pytest.mark.parametrize("data", [b"", EBML, b"hello\n" * 100, bytes(1000), UNKNOWN_SIZE])
def test_what_cannot_tell_is_not_judged(tmp_path: Path, data: bytes) -> None:
    """Other bytes, and a Segment of unknown size, are never called cut."""
    path = tmp_path / "data.bin"
    path.write_bytes(data)
    assert find_cut(str(path)) is None
