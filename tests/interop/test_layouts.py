"""Read every codec and layout that the generator writes with ffmpeg (PyAV) and mkvtoolnix.

ffmpeg must find each frame with its track, time and bytes; mkvtoolnix must identify the tracks and
remux the file without a warning. `make interop` prints why its tests are skipped where the tools
are missing (Debian: mkvtoolnix).
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import pytest
from tests.interop.conftest import Sample, encode_aac, encode_video

from kvsproducer import wire
from kvsproducer.codecs import pcm_config
from kvsproducer.limits import TICKS_PER_MS
from kvsproducer.mkv import (
    FrameFlags,
    FrameKind,
    MkvGenerator,
    NalAdaptation,
    TrackInfo,
    TrackType,
    tags,
)
from kvsproducer.mkv.adaptation import FrameAdapter

START = 1_700_000_000_000 * TICKS_PER_MS
ANNEXB = NalAdaptation.ANNEXB_NALS
EVENT_TAGS = [
    (wire.TAG_NOTIFICATION, ""),
    (wire.TAG_IMAGE_GENERATION, ""),
    (wire.TAG_IMAGE_PREFIX, "front/"),
]
SCALES = (1, 10, 1_000, 10_000, 33_333, 100_000, 10_000_000)  # ticks of 100 ns: 100 ns to 1 s
needs_mkvtoolnix = pytest.mark.skipif(
    shutil.which("mkvmerge") is None or shutil.which("mkvinfo") is None,
    reason="mkvinfo and mkvmerge are not installed (Debian: mkvtoolnix)",
)


@dataclass
class Layout:
    """Tracks with their samples, and the options of the generator."""

    tracks: list[TrackInfo]
    content_type: str
    samples: list[Sample]
    codecs: tuple[str, ...]  # as ffmpeg names them
    adaptation: NalAdaptation = NalAdaptation.NONE
    options: dict[str, object] = field(default_factory=dict)
    ticks_per_ms: int = TICKS_PER_MS  # how far apart a sample's milliseconds are put
    clock: bool = False  # the time of day instead of the samples' times


@cache
def h264() -> list[Sample]:
    return encode_video("libx264", g="10", bf="0")[0]


@cache
def h265() -> list[Sample]:
    return encode_video("libx265", **{"x265-params": "keyint=10:bframes=0:log-level=0"})[0]


@cache
def aac() -> tuple[list[Sample], bytes]:
    return encode_aac(2)


def law(track: int) -> list[Sample]:
    """Make 20 ms packets of G.711 at 8 kHz, with a key frame every second."""
    return [Sample(track, 20 * i, 20 * i, i % 50 == 0, bytes([i]) * 160) for i in range(60)]


H264_TRACK = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", "camera")
H265_TRACK = TrackInfo(1, TrackType.VIDEO, "V_MPEGH/ISO/HEVC", "camera")


def joined(*parts: list[Sample]) -> list[Sample]:
    samples = [sample for part in parts for sample in part]
    return sorted(samples, key=lambda sample: (sample.dts, sample.track_id))


def g711(name: str, tag: int, track: int = 1, channels: int = 1) -> Layout:
    config = pcm_config(tag, 8000, channels)
    info = TrackInfo(track, TrackType.AUDIO, "A_MS/ACM", codec_private_data=config)
    return Layout([info], f"audio/{name}", law(track), (f"pcm_{name}",))


def video(**more: object) -> Layout:
    return Layout([H264_TRACK], "video/h264", h264(), ("h264",), ANNEXB, **more)  # type: ignore[arg-type]


def sound_and_pictures() -> Layout:
    sound, config = aac()
    tracks = [H264_TRACK, TrackInfo(2, TrackType.AUDIO, "A_AAC", codec_private_data=config)]
    samples = joined(h264(), sound)
    return Layout(tracks, "video/h264,audio/aac", samples, ("h264", "aac"), ANNEXB)


def three_tracks() -> Layout:
    two = sound_and_pictures()
    third = g711("mulaw", 7, track=3)
    # The content type gives the codec of all audio tracks whose codec id does not name one.
    return Layout(
        two.tracks + third.tracks,
        "video/h264,audio/aac,audio/mulaw",
        joined(two.samples, [sample._replace(key=False) for sample in third.samples]),
        ("h264", "aac", "pcm_mulaw"),
        ANNEXB,
    )


def at_scale(scale: int) -> Layout:
    """Make a layout with frames at this timecode scale."""
    return video(options={"timecode_scale": scale}, ticks_per_ms=max(1, min(scale, TICKS_PER_MS)))


LAYOUTS = {
    "h264": video,
    "h265": lambda: Layout([H265_TRACK], "video/h265", h265(), ("hevc",), ANNEXB),
    "aac": lambda: Layout(
        [TrackInfo(2, TrackType.AUDIO, "A_AAC", codec_private_data=aac()[1])],
        "audio/aac",
        [sample._replace(key=not index % 5) for index, sample in enumerate(aac()[0])],
        ("aac",),
    ),
    "alaw": lambda: g711("alaw", 6),
    "mulaw stereo": lambda: g711("mulaw", 7, channels=2),
    "audio and video": sound_and_pictures,
    "three tracks": three_tracks,
    "relative timecodes": lambda: video(options={"absolute_timecodes": False}),
    "clock timecodes": lambda: video(clock=True),
    "duration fragmentation": lambda: video(
        options={"key_frame_fragmentation": False, "fragment_duration": 1000 * TICKS_PER_MS}
    ),
    **{f"scale {scale * 100} ns": (lambda scale=scale: at_scale(scale)) for scale in SCALES},
}


def package(layout: Layout) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """Return the media, and (track index, pts in ticks, payload) of each frame in it."""
    generator = MkvGenerator(
        layout.tracks,
        content_type=layout.content_type,
        adaptation=layout.adaptation,
        **layout.options,  # type: ignore[arg-type]
    )
    adapter = FrameAdapter(layout.tracks, layout.adaptation, content_type=layout.content_type)
    numbers = {track.track_id: index for index, track in enumerate(layout.tracks)}
    origin = 0 if layout.options.get("absolute_timecodes", True) else START
    out: list[bytes | memoryview] = []
    frames = []
    for count, sample in enumerate(layout.samples):
        buffers, size = adapter.adapt(sample.track_id, sample.data)
        record = adapter.codec_private_data(sample.track_id, buffers) if sample.key else None
        if record is not None:
            generator.set_codec_private_data(sample.track_id, record, adapted=True)
        pts, dts = (START + at * layout.ticks_per_ms for at in (sample.pts, sample.dts))
        if layout.clock:
            pts = dts = START + count * 123_457
        key = FrameFlags.KEY if sample.key else FrameFlags.NONE
        packed = generator.pack(sample.track_id, key, pts, dts, 0, size)
        head = packed.header[: packed.prefix_length]
        if packed.kind is not FrameKind.BLOCK:
            head += tags([("fragment", str(count))]) + tags(EVENT_TAGS)
        out += [head, packed.header[packed.prefix_length :], *buffers]
        at = packed.ack_timestamp - origin
        frames.append((numbers[sample.track_id], at, b"".join(buffers)))
    out.append(generator.end_fragment())
    return b"".join(out), frames


@pytest.mark.parametrize("name", LAYOUTS)
def test_ffmpeg_reads_every_frame(name: str) -> None:
    """ffmpeg finds track, time and bytes of each packet, and decodes all pictures."""
    layout = LAYOUTS[name]()
    data, frames = package(layout)
    with av.open(io.BytesIO(data), format="matroska") as container:
        assert tuple(stream.codec_context.name for stream in container.streams) == layout.codecs
        found = []
        for packet in container.demux():
            if packet.size:
                at = Fraction(packet.pts) * packet.time_base * 10_000_000
                found.append((packet.stream.index, round(at), bytes(packet)))
    assert found == frames
    videos = [index for index, codec in enumerate(layout.codecs) if codec in ("h264", "hevc")]
    if videos:
        with av.open(io.BytesIO(data), format="matroska") as container:
            pictures = sum(1 for _ in container.decode(video=0))
        assert pictures == sum(1 for index, _, _ in frames if index == videos[0])


MKVTOOLNIX_NAMES = {
    "h264": "AVC/H.264/MPEG-4p10",
    "hevc": "HEVC/H.265/MPEG-H",
    "aac": "AAC",
    "pcm_alaw": "A-law",
    "pcm_mulaw": "A_MS/ACM",
}


@needs_mkvtoolnix
@pytest.mark.parametrize("name", LAYOUTS)
def test_mkvtoolnix_accepts_it(name: str, tmp_path: Path) -> None:
    """mkvtoolnix identifies the tracks, finds a block for each frame, and remuxes without warnings.

    `mkvmerge --identify` identifies, `mkvinfo` reads the blocks, and `mkvmerge` remuxes.
    """
    layout = LAYOUTS[name]()
    data, frames = package(layout)
    path, again = tmp_path / "in.mkv", tmp_path / "out.mkv"
    path.write_bytes(data)
    told = json.loads(tool("mkvmerge", "--identify", "--identification-format", "json", str(path)))
    assert told["container"]["recognized"]
    assert told["container"]["supported"]
    assert not told["errors"]
    assert not told["warnings"]
    assert [track["type"] for track in told["tracks"]] == [
        track.track_type.name.lower() for track in layout.tracks
    ]
    listing = tool("mkvinfo", "--all", str(path))
    assert listing.count("+ Simple block") == len(frames), listing[-2000:]
    said = tool("mkvmerge", "-o", str(again), str(path))
    assert "Warning" not in said, said
    with av.open(str(again)) as container:
        assert sum(1 for packet in container.demux() if packet.size) == len(frames)


def tool(*command: str) -> str:
    """Run a tool and return what it prints; fails if its exit code is not 0."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout
