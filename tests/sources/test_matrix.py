"""Intact files of many kinds: every frame is put, at the right time.

Containers, B-frames, sound, frame rates and muxers are combined. The frames that are put decode to
as many pictures as the file has, at the same distances.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from kvsproducer.client.frame import Frame
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.source import Source, open_source

MakeClip = Callable[..., Path]
START = 1_700_000_000 * TICKS_PER_SECOND
NTSC = Fraction(30000, 1001)

PLAIN: dict[str, Any] = {"duration_s": Fraction(1), "gop": 10}
MADE = [
    # suffix, options of the clip, FFmpeg's options for rewriting it
    *[(ending, {"bframes": b}, {}) for ending in ("mp4", "mov", "mkv", "ts") for b in (0, 1, 3)],
    *[(ending, {"audio": "aac", "bframes": 2}, {}) for ending in ("mp4", "mkv", "ts", "flv")],
    *[(ending, {"audio": "aac"}, {}) for ending in ("avi", "3gp", "m2ts", "mov")],
    *[(ending, {"codec": "hevc", "bframes": b}, {}) for ending in ("mp4", "ts") for b in (0, 3)],
    ("mkv", {"codec": "hevc", "audio": "aac"}, {}),
    ("avi", {"audio": "pcm_mulaw"}, {}),
    ("mov", {"audio": "pcm_alaw", "bframes": 2}, {}),
    *[("mp4", {"rate": rate, "bframes": 2}, {}) for rate in (NTSC, Fraction(12), Fraction(60))],
    *[("ts", {"rate": rate, "audio": "aac"}, {}) for rate in (NTSC, Fraction(50))],
    *[("mkv", {"rate": rate, "bframes": 1}, {}) for rate in (NTSC, Fraction(15, 2))],
    ("mp4", {"bframes": 2, "audio": "aac"}, {"movflags": "faststart"}),
    ("mp4", {"bframes": 2, "audio": "aac"}, {"movflags": "frag_keyframe+empty_moov"}),
    ("mp4", {"bframes": 2}, {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    ("mp4", {"bframes": 2, "audio": "aac"}, {"movflags": "negative_cts_offsets"}),
    ("mp4", {"bframes": 2, "audio": "aac"}, {"use_editlist": "0"}),
    ("mkv", {"bframes": 2, "audio": "aac"}, {"live": "1"}),
    ("ts", {"bframes": 2, "audio": "aac"}, {"mpegts_copyts": "1", "output_ts_offset": "95443"}),
    ("mp4", {"duration_s": Fraction(1, 25)}, {}),
    ("ts", {"duration_s": Fraction(1, 25)}, {}),
    ("mkv", {"duration_s": Fraction(2, 25), "audio": "aac"}, {}),
]


def names(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items()) or "-"
    return str(value)


def take(source: Source) -> list[Frame]:
    with source:
        return list(source.frames())


def pictures(source: Source, frames: list[Frame]) -> int:
    """Return how many pictures a decoder makes of the frames."""
    track = source.tracks[0]
    codec = "hevc" if "HEVC" in track.codec_id else "h264"
    decoder = av.CodecContext.create(codec, "r")
    decoder.extradata = track.codec_private_data
    shown = sum(len(decoder.decode(av.Packet(f.data))) for f in frames if f.track_id == 1)
    return shown + len(decoder.decode(None))


def check_steps(frames: list[Frame], rate: Fraction) -> None:
    """Check that the distances of pictures match the rate, to the millisecond."""
    shown = sorted(frame.pts for frame in frames if frame.track_id == 1)
    step = TICKS_PER_SECOND / rate
    assert all(abs(b - a - step) <= TICKS_PER_MS + 10 for a, b in pairwise(shown))


@pytest.mark.parametrize(("ending", "options", "muxing"), MADE, ids=names)
def test_every_kind_of_file_is_put_completely(
    make_clip: MakeClip,
    remux: Callable[..., Path],
    ending: str,
    options: dict[str, Any],
    muxing: dict[str, str],
) -> None:
    """All packets become frames, in order, and decode to all pictures."""
    wanted = {**PLAIN, **options}
    path = make_clip(ending, **wanted)
    if muxing:
        path = remux(path, f"anew.{ending}", **muxing)
    source = open_source(path, start=START)
    frames = take(source)
    rate = wanted.get("rate", Fraction(25))
    count = -(-wanted["duration_s"] * rate // 1)
    assert sum(frame.track_id == 1 for frame in frames) == count
    with av.open(str(path)) as container:
        assert len(frames) == sum(1 for packet in container.demux() if packet.size)
    assert source.skipped == source.hidden == source.cut_away == source.jumps == 0
    assert source.warnings == []
    assert [f.dts for f in frames] == sorted(f.dts for f in frames)
    assert pictures(source, frames) == count
    check_steps(frames, rate)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_variable_frame_rate_keeps_its_times(
    make_clip: MakeClip, remux: Callable[..., Path], ending: str
) -> None:
    """In screen recordings and on phones, one picture may be shown for long."""
    times = [0, 40, 80, 120, 400, 440, 1900, 1940, 1980, 2500]

    def spread(packet: av.Packet, number: int) -> bool:
        if number >= len(times):
            return False
        assert packet.time_base is not None
        packet.pts = packet.dts = int(times[number] / 1000 / packet.time_base)
        return True

    path = remux(make_clip(ending, **PLAIN), f"variable.{ending}", spread)
    frames = take(open_source(path, start=START))
    assert [(f.pts - frames[0].pts) // TICKS_PER_MS for f in frames] == pytest.approx(times, abs=1)


@pytest.mark.parametrize("ending", ["mp4", "mov", "ts"])
def test_times_below_zero_at_the_start(
    make_clip: MakeClip, remux: Callable[..., Path], ending: str
) -> None:
    """Some muxers keep negative times, others hide them behind an edit list."""

    def earlier(packet: av.Packet, _: int) -> bool:
        assert packet.time_base is not None
        assert packet.pts is not None
        shift = int(Fraction(1, 5) / packet.time_base)
        packet.pts -= shift
        assert packet.dts is not None
        packet.dts -= shift
        return True

    options = {"avoid_negative_ts": "disabled"} if ending == "ts" else {}
    path = remux(make_clip("mp4", **PLAIN, bframes=2), f"below.{ending}", earlier, **options)
    source = open_source(path, start=START)
    frames = take(source)
    assert len(frames) + source.cut_away == 25
    check_steps(frames, Fraction(25))
