"""Raw H.264 and H.265: the frame rate, the display order, and unusual NAL units."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from tests.h264_fields import coded, without_vui

from kvsproducer.client.frame import Frame
from kvsproducer.codecs import annexb_to_avcc, split_avcc
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.source import Source, open_source

MakeClip = Callable[..., Path]
START = 1_700_000_000 * TICKS_PER_SECOND


def take(source: Source) -> list[Frame]:
    with source:
        return list(source.frames())


def test_frame_rate_of_raw_video(make_clip: MakeClip) -> None:
    """Raw video has no times; `frame_rate` determines them."""
    frames = take(open_source(make_clip("h264", bframes=2), frame_rate=10, start=START))
    shown = sorted(frame.pts for frame in frames)
    assert shown[-1] - shown[0] == 74 * TICKS_PER_SECOND // 10


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("ending", ["h264", "h265"])
@pytest.mark.parametrize("rate", [Fraction(60), Fraction(30000, 1001), Fraction(12, 5)])
def test_raw_video_uses_the_rate_of_its_parameter_sets(
    make_clip: MakeClip, ending: str, rate: Fraction, bframes: int
) -> None:
    """The rate is in its parameter sets. A given `frame_rate` overrides it."""
    codec = "hevc" if ending == "h265" else "h264"
    path = make_clip(ending, codec=codec, rate=rate, bframes=bframes, duration_s=Fraction(2))
    source = open_source(path, start=START)
    assert source.frame_rate == pytest.approx(float(rate))
    assert source.warnings == []
    shown = sorted(frame.pts for frame in take(source))
    assert shown[-1] - shown[0] == pytest.approx((len(shown) - 1) * 10**7 / rate, abs=20_000)
    assert open_source(path, frame_rate=25).frame_rate == 25


@pytest.mark.parametrize("rate", [None, 1000, 90_000])
def test_missing_rate_is_assumed_with_a_warning(
    make_clip: MakeClip, tmp_path: Path, rate: int | None
) -> None:
    """Many hardware encoders omit the timing, or write the units of their clock."""
    path = tmp_path / "clip.h264"
    if rate is None:
        path.write_bytes(without_vui(make_clip("h264").read_bytes()))
    else:
        path.write_bytes(b"".join(unit.data for unit in coded("IPPP", time_scale=2 * rate)))
    source = open_source(path)
    assert source.frame_rate == 25
    assert "so 25 frames per second are assumed" in source.warnings[0]
    assert len(take(source)) == (75 if rate is None else 4)
    assert open_source(path, frame_rate=30).warnings == []


def test_b_frames_without_reorder_information(make_clip: MakeClip, tmp_path: Path) -> None:
    """The SPS lacks the reordering depth, so a decoder must assume the maximum."""
    path = tmp_path / "clip.h264"
    path.write_bytes(without_vui(make_clip("h264", bframes=3).read_bytes()))
    frames = take(open_source(path, start=START))
    assert len(frames) == 75
    shown = sorted(frame.pts // TICKS_PER_MS for frame in frames)
    assert {b - a for a, b in pairwise(shown)} == {40}
    assert [f.pts for f in frames] != sorted(f.pts for f in frames)
    assert decoded(frames) == shown


@pytest.mark.parametrize("plain", [5, 80, 200])
def test_b_frames_that_begin_late(tmp_path: Path, plain: int) -> None:
    """The first pictures have none, but the parameter sets allow them."""
    units = coded("I" + "P" * plain + "IPBPBPB" * 3)
    path = tmp_path / "clip.h264"
    path.write_bytes(b"".join(unit.data for unit in units))
    frames = take(open_source(path, start=START))
    order = [unit.shown for unit in units[::2]]
    assert [(frame.pts - frames[0].pts) // 400_000 for frame in frames] == order


def decoded(frames: list[Frame]) -> list[int]:
    """Return the times of Annex-B H.264 frames, in ms, in a decoder's display order."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.options = {"strict": "1"}
    pictures: list[av.VideoFrame] = []
    for frame in frames:
        packet = av.Packet(frame.data)
        packet.pts = packet.dts = frame.pts // TICKS_PER_MS
        pictures += decoder.decode(packet)
    return [picture.pts or 0 for picture in [*pictures, *decoder.decode(None)]]


def test_empty_nal_units_lose_no_picture(make_clip: MakeClip, tmp_path: Path) -> None:
    """Each picture ends with a start code without a NAL unit."""
    data = make_clip("h264", bframes=0).read_bytes()
    path = tmp_path / "clip.h264"
    path.write_bytes(data.replace(b"\0\0\0\1\x41", b"\0\0\0\1\0\0\0\1\x41") + b"\0\0\1")
    frames = take(open_source(path))
    assert len(frames) == 75
    for frame in frames:
        units = split_avcc(b"".join(annexb_to_avcc(frame.data)[0]))
        assert all(units)
