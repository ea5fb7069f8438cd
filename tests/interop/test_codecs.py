"""Tests of codecs/ with ffmpeg's encoders, muxers and decoders (through PyAV)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import pytest

from kvsproducer.codecs import (
    VideoCodec,
    annexb_to_avcc,
    avcc_to_annexb,
    h264,
    h265,
    is_key_frame,
    nal_types,
    parameter_sets,
    parse_aac_config,
    parse_adts,
    parse_bitmap_info,
    parse_pcm_config,
    split_annexb,
    split_avcc,
    strip_adts,
)

FRAMES = 4


def pictures(width: int, height: int, pix_fmt: str) -> Iterator[Any]:
    """Yield pictures that differ from each other."""
    for index in range(FRAMES):
        frame = av.VideoFrame(width, height, pix_fmt)
        for number, plane in enumerate(frame.planes):
            ramp = bytes((at * (number + 1) + 9 * index) % 200 for at in range(200))
            plane.update((ramp * (plane.buffer_size // 200 + 1))[: plane.buffer_size])
        frame.pts = index
        frame.time_base = Fraction(1, 25)
        yield frame


def encode(
    encoder: str, width: int, height: int, pix_fmt: str, options: dict[str, str]
) -> tuple[bytes, list[bytes]]:
    """Encode pictures; return the Annex-B extradata and frames."""
    context: Any = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = width, height, pix_fmt
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = options
    context.flags |= 1 << 22  # global header
    frames = [
        bytes(packet)
        for frame in pictures(width, height, pix_fmt)
        for packet in context.encode(frame)
    ]
    frames += [bytes(packet) for packet in context.encode(None)]
    return bytes(context.extradata), frames


def remux(codec: str, extradata: bytes, frames: list[bytes], size: tuple[int, int]) -> bytes:
    """Return the extradata that ffmpeg's Matroska muxer makes from an Annex-B stream."""
    raw, out = io.BytesIO(extradata + b"".join(frames)), io.BytesIO()
    with av.open(raw, format=codec) as source, av.open(out, "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                packet.pts = packet.dts = packet.pts or 0
                target.mux(packet)
    out.seek(0)
    with av.open(out) as back:
        context = back.streams.video[0].codec_context
        assert (context.width, context.height) == size
        return bytes(context.extradata or b"")


def decode(codec: str, extradata: bytes, frames: list[bytes]) -> int:
    """Return the number of pictures that ffmpeg decodes with this configuration record."""
    context: Any = av.CodecContext.create(codec, "r")
    context.extradata = extradata
    packets = [av.Packet(frame) for frame in frames]
    return sum(len(context.decode(packet)) for packet in [*packets, None])


H264_CASES = [
    (320, 240, "yuv420p", {"profile": "baseline"}, 66),
    (322, 246, "yuv420p", {"profile": "main"}, 77),
    (321, 243, "yuv444p", {"profile": "high444"}, 244),
    (640, 360, "yuv422p", {"profile": "high422"}, 122),
    (176, 144, "yuv420p10le", {"profile": "high10"}, 110),
    (720, 576, "yuv420p", {"profile": "high", "x264-params": "interlaced=1"}, 100),
    (130, 98, "gray", {"profile": "high"}, 100),
]


@pytest.mark.parametrize(("width", "height", "pix_fmt", "options", "profile"), H264_CASES)
def test_h264_of_x264(
    width: int, height: int, pix_fmt: str, options: dict[str, str], profile: int
) -> None:
    """Our avcC equals ffmpeg's, and all converted frames can be decoded."""
    extradata, frames = encode("libx264", width, height, pix_fmt, options)
    sps = h264.parse_cpd(extradata)
    assert (sps.width, sps.height, sps.profile_idc) == (width, height, profile)
    assert sps.interlaced == ("interlaced" in str(options))
    record = h264.cpd_to_avcc(extradata)
    assert record == remux("h264", extradata, frames, (width, height))
    sets = parameter_sets(split_annexb(extradata), VideoCodec.H264)
    assert h264.parse_avcc(record).sps + h264.parse_avcc(record).pps == tuple(sets)
    avcc = [b"".join(annexb_to_avcc(frame)[0]) for frame in frames]
    assert decode("h264", record, avcc) == FRAMES
    assert (
        decode("h264", extradata, [b"".join(avcc_to_annexb(frame)[0]) for frame in avcc]) == FRAMES
    )
    keys = [is_key_frame(split_avcc(frame), VideoCodec.H264) for frame in avcc]
    assert keys == [True] + [False] * (FRAMES - 1)


H265_CASES = [
    (320, 240, "yuv420p", 1, 8),
    (326, 246, "yuv420p", 1, 8),
    (320, 242, "yuv444p", 4, 8),
    (176, 144, "yuv420p10le", 2, 10),
]


@pytest.mark.parametrize(("width", "height", "pix_fmt", "profile", "depth"), H265_CASES)
def test_h265_of_x265(width: int, height: int, pix_fmt: str, profile: int, depth: int) -> None:
    """Our hvcC has the same values as ffmpeg's, and all converted frames can be decoded."""
    quiet = {"x265-params": "log-level=none:pools=none:frame-threads=1", "preset": "ultrafast"}
    extradata, frames = encode("libx265", width, height, pix_fmt, quiet)
    sps = h265.parse_cpd(extradata, strict=True)
    assert (sps.width, sps.height, sps.profile_idc) == (width, height, profile)
    assert (sps.bit_depth_luma, sps.bit_depth_chroma) == (depth, depth)
    record = h265.cpd_to_hvcc(extradata)
    theirs = remux("hevc", extradata, frames, (width, height))
    sets = [unit for kind, unit in h265.parse_hvcc(theirs).units if kind < 35]
    assert [unit for _, unit in h265.parse_hvcc(record).units] == sets
    assert h265.parse_hvcc(record).general == h265.parse_hvcc(theirs).general
    assert (record[16:19], record[21]) == (theirs[16:19], theirs[21])
    avcc = [b"".join(annexb_to_avcc(frame)[0]) for frame in frames]
    assert decode("hevc", record, avcc) == FRAMES
    assert is_key_frame(split_avcc(avcc[0]), VideoCodec.H265)
    assert nal_types(sets, VideoCodec.H265) == [32, 33, 34]


def sound(encoder: str, rate: int, layout: str, container: str) -> tuple[bytes, bytes]:
    """Encode half a second of silence; return the extradata and the container file."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        stream: Any = target.add_stream(encoder, rate=rate, layout=layout)
        for index in range(4):
            samples = stream.codec_context.frame_size or 1024
            frame = av.AudioFrame(stream.codec_context.format.name, layout, samples)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.rate, frame.pts, frame.time_base = rate, index * samples, Fraction(1, rate)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
        extradata = bytes(stream.codec_context.extradata or b"")
    return extradata, out.getvalue()


@pytest.mark.parametrize(
    ("rate", "layout", "channels"), [(48000, "stereo", 2), (16000, "mono", 1), (44100, "5.1", 6)]
)
def test_aac_of_ffmpeg(rate: int, layout: str, channels: int) -> None:
    extradata, adts = sound("aac", rate, layout, "adts")
    config = parse_aac_config(extradata)
    assert (config.object_type, config.sampling_frequency) == (2, rate)
    assert config.channels == channels
    frames = []
    while adts:
        size = parse_adts(adts).frame_size
        frames.append(bytes(strip_adts(adts[:size])))
        adts = adts[size:]
    context: Any = av.CodecContext.create("aac", "r")
    context.extradata = extradata
    decoded = [frame for raw in frames for frame in context.decode(av.Packet(raw))]
    assert len(decoded) == len(frames) > 0
    assert decoded[0].sample_rate == rate


@pytest.mark.parametrize(("encoder", "tag"), [("pcm_alaw", 6), ("pcm_mulaw", 7)])
def test_the_wave_format_of_ffmpeg(encoder: str, tag: int) -> None:
    _, wav = sound(encoder, 8000, "mono", "wav")
    chunk = wav.index(b"fmt ")
    config = parse_pcm_config(wav[chunk + 8 : chunk + 26])
    assert (config.format, config.sampling_frequency, config.channels) == (tag, 8000, 1)
    assert config.bits == 8


def test_the_bitmap_header_of_ffmpeg() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as target:
        stream: Any = target.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        for frame in pictures(320, 240, "yuvj420p"):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    avi = out.getvalue()
    info = parse_bitmap_info(avi[avi.index(b"strf") + 8 :])
    assert (info.width, info.height, info.fourcc) == (320, 240, b"MJPG")
