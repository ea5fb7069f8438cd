"""The interface to FFmpeg: reading, encoding and decoding media, and a missing PyAV."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.media import Kind
from kvsproducer.sources.pyav import (
    ContainerReader,
    PatternReader,
    decode_file,
    write_png,
)
from kvsproducer.sources.spec import PatternSpec
from kvsproducer.status import KvsError, StatusCode

MakeClip = Callable[..., Path]


def test_container_becomes_plain_packets(make_clip: MakeClip) -> None:
    """Tracks, numbers and times of the first video and the first audio track."""
    path = make_clip("mp4", bframes=2, audio="aac")
    reader = ContainerReader(str(path), "clip")
    assert [(t.kind, t.codec) for t in reader.tracks] == [(Kind.VIDEO, "h264"), (Kind.AUDIO, "aac")]
    assert reader.tracks[0].reordered
    assert reader.duration == 3 * TICKS_PER_SECOND
    video = [p for p in reader.packets() if p.kind is Kind.VIDEO]
    reader.close()
    assert [p.number for p in video] == list(range(75))
    assert video[0].key_frame
    assert {p.duration for p in video} == {TICKS_PER_SECOND // 25}


def test_encoder_makes_parameter_sets_and_regular_key_frames() -> None:
    """Key frames are exactly `gop` pictures apart, whatever the pictures show."""
    reader = PatternReader(
        PatternSpec(Fraction(2), Fraction(25), 160, 120, gop=10, audio="pcm_alaw")
    )
    packets = list(reader.packets())
    assert reader.tracks[0].extradata.startswith(b"\x00\x00\x00\x01\x67")
    keys = [p.number for p in packets if p.kind is Kind.VIDEO and p.key_frame]
    assert keys == [0, 10, 20, 30, 40]
    samples = sum(len(p.data) for p in packets if p.kind is Kind.AUDIO)
    assert samples == 16_000


def test_decoding_counts_everything(make_clip: MakeClip) -> None:
    """Every picture and sound is decoded, and thumbnails are distributed over the file."""
    decoded = decode_file(
        str(make_clip("mov", audio="pcm_mulaw")), thumbnails=5, width=32, height=24
    )
    assert len(decoded.pts) == 75
    assert decoded.sounds > 0
    assert len(decoded.thumbnails) == 5
    assert {len(picture) for picture in decoded.thumbnails} == {32 * 24 * 3}
    assert len(set(decoded.thumbnails)) == 5


def test_decoding_reports_damage(make_clip: MakeClip, tmp_path: Path) -> None:
    """An invalid picture is an error, not a smaller count."""
    path = tmp_path / "text.mkv"
    path.write_bytes(b"no media at all\n" * 10)
    with pytest.raises(KvsError) as caught:
        decode_file(str(path), thumbnails=1, width=32, height=24)
    assert caught.value.status is StatusCode.MKV_INVALID_FRAME_DATA


def test_png_pictures_can_be_read(tmp_path: Path) -> None:
    """FFmpeg reads the same picture that was written."""
    path, rgb = tmp_path / "x.png", bytes(range(256)) * 3
    write_png(str(path), rgb, 16, 16)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).reformat(format="rgb24")
    plane = frame.planes[0]
    rows = [bytes(plane)[y * plane.line_size :][:48] for y in range(16)]
    assert b"".join(rows) == rgb


def test_without_pyav_the_error_says_what_to_install() -> None:
    """The media extra is optional. Without it, NOT_FOUND has the command to run."""
    program = (
        "import sys; sys.modules['av'] = None\n"
        "from kvsproducer.sources import open_source\n"
        "open_source('testsrc:')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'kvsproducer[media]'" in done.stderr
    assert "STATUS_NOT_FOUND" in done.stderr
