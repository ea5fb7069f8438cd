"""Tests that ffmpeg (through PyAV) reads our Matroska, and that our parser reads ffmpeg's."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import pytest
from tests.interop.conftest import Sample, encode_aac, encode_video

from kvsproducer.codecs import pcm_config
from kvsproducer.limits import TICKS_PER_MS
from kvsproducer.mkv import (
    FrameFlags,
    MkvGenerator,
    MkvParser,
    NalAdaptation,
    TrackInfo,
    TrackType,
    end_of_fragment_tag,
    tags,
)
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.adaptation import FrameAdapter

START_MS = 1_700_000_000_000
ANNEXB = NalAdaptation.ANNEXB_NALS
MS = Fraction(1, 1000)


def package(
    samples: list[Sample],
    tracks: list[TrackInfo],
    content_type: str,
    flags: NalAdaptation = NalAdaptation.NONE,
) -> bytes:
    """Make a stream with metadata before every fragment, and an end-of-fragment tag at the end."""
    generator = MkvGenerator(tracks, content_type=content_type, adaptation=flags, client_id="t")
    adapter = FrameAdapter(tracks, flags, content_type=content_type)
    out: list[bytes | memoryview] = []
    for sample in samples:
        buffers, size = adapter.adapt(sample.track_id, sample.data)
        record = adapter.codec_private_data(sample.track_id, buffers) if sample.key else None
        if record is not None:
            generator.set_codec_private_data(sample.track_id, record, adapted=True)
        pts, dts = ((START_MS + at) * TICKS_PER_MS for at in (sample.pts, sample.dts))
        key = FrameFlags.KEY if sample.key else FrameFlags.NONE
        packed = generator.pack(sample.track_id, key, pts, dts, 40 * TICKS_PER_MS, size)
        out.append(packed.header[: packed.prefix_length])
        if packed.kind:
            out.append(tags([("fragment", str(sample.pts))]))
        out += [packed.header[packed.prefix_length :], *buffers]
    return b"".join([*out, end_of_fragment_tag()])


def packets_of(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (stream index, pts in ms after START_MS, payload) of each packet that ffmpeg reads."""
    with av.open(io.BytesIO(data), format="matroska") as container:
        for packet in container.demux():
            if packet.size:
                at = Fraction(packet.pts) * Fraction(packet.time_base) / MS
                yield packet.stream.index, int(at) - START_MS, bytes(packet)


def pictures_of(data: bytes, container_format: str) -> list[bytes]:
    """Return the luma of every decoded picture."""
    with av.open(io.BytesIO(data), format=container_format) as container:
        return [bytes(frame.planes[0]) for frame in container.decode(video=0)]


VIDEOS = [
    # (encoder, raw format, codec id, content type, options)
    ("libx264", "h264", "V_MPEG4/ISO/AVC", "video/h264", {"g": "10", "bf": "0"}),
    ("libx264", "h264", "V_MPEG4/ISO/AVC", "video/h264", {"g": "10", "bf": "2", "b_strategy": "0"}),
    ("libx264", "h264", "V_MPEG4/ISO/AVC", "Video/AVC", {"g": "5", "profile": "high", "bf": "0"}),
    (
        "libx265",
        "hevc",
        "V_MPEGH/ISO/HEVC",
        "video/h265",
        {"x265-params": "keyint=10:open-gop=0:log-level=0"},
    ),
]


@pytest.mark.parametrize("given", ["extracted", "annexb"])
@pytest.mark.parametrize(("encoder", "raw", "codec_id", "content_type", "options"), VIDEOS)
def test_video(
    encoder: str, raw: str, codec_id: str, content_type: str, options: dict[str, str], given: str
) -> None:
    """ffmpeg reads time and bytes of every packet, the size, and the same pictures.

    The frames are Annex-B; the private data is given as Annex-B or taken from the key frame.
    """
    samples, _ = encode_video(encoder, **options)
    if options.get("bf") == "2":
        assert any(sample.pts != sample.dts for sample in samples)
    private = b"" if given == "extracted" else sets_of(samples[0].data, raw)
    track = TrackInfo(1, TrackType.VIDEO, codec_id, "camera", private)
    flags = ANNEXB | NalAdaptation.ANNEXB_CPD_NALS
    data = package(samples, [track], content_type, flags)

    adapter = FrameAdapter([track], ANNEXB, content_type=content_type)
    expected = [(0, s.pts, b"".join(adapter.adapt(1, s.data)[0])) for s in samples]
    assert list(packets_of(data)) == expected
    with av.open(io.BytesIO(data), format="matroska") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == (raw, 96, 64)
    pictures = pictures_of(data, "matroska")
    assert pictures == pictures_of(b"".join(sample.data for sample in samples), raw)
    assert len(pictures) == len(samples)


def sets_of(key_frame: bytes, raw: str) -> bytes:
    """Return the parameter sets of an Annex-B key frame, as Annex-B."""
    kinds = {7, 8} if raw == "h264" else {32, 33, 34}
    units = key_frame.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    kept = [
        unit for unit in units if (unit[0] & 31 if raw == "h264" else unit[0] >> 1 & 63) in kinds
    ]
    return b"".join(b"\0\0\0\1" + unit for unit in kept)


def test_avcc_video_is_converted_to_annexb() -> None:
    samples, _ = encode_video("libx264", g="10", bf="0")
    track = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC")
    to_avcc = FrameAdapter([track], ANNEXB, content_type="video/h264")
    lengths = [s._replace(data=b"".join(to_avcc.adapt(1, s.data)[0])) for s in samples]
    data = package(lengths, [track], "video/h264", NalAdaptation.AVCC_NALS)
    assert pictures_of(data, "matroska") == pictures_of(
        b"".join(sample.data for sample in samples), "h264"
    )


def test_audio_and_video() -> None:
    """Two tracks are interleaved by time; key frames start the fragments."""
    video, _ = encode_video("libx264", g="10", bf="0")
    audio, config = encode_aac(2)
    samples = sorted([*video, *audio], key=lambda sample: (sample.dts, sample.track_id))
    tracks = [
        TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC"),
        TrackInfo(2, TrackType.AUDIO, "A_AAC", codec_private_data=config),
    ]
    data = package(samples, tracks, "video/h264,audio/aac", ANNEXB)
    found = list(packets_of(data))
    assert [(index, at) for index, at, _ in found] == [(s.track_id - 1, s.pts) for s in samples]
    assert [payload for index, _, payload in found if index] == [s.data for s in audio]
    with av.open(io.BytesIO(data), format="matroska") as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("aac", 48_000, 2)
        assert stream.codec_context.extradata == config
        assert sum(frame.samples for frame in container.decode(stream)) == 1024 * len(audio)


@pytest.mark.parametrize(
    ("law", "tag", "name"), [("alaw", 6, "pcm_alaw"), ("mulaw", 7, "pcm_mulaw")]
)
def test_g711(law: str, tag: int, name: str) -> None:
    """The stream has 20 ms packets of 8 kHz mono, and a fragment starts every second."""
    rng = random.Random(9)
    samples = [Sample(1, 20 * i, 20 * i, i % 50 == 0, rng.randbytes(160)) for i in range(120)]
    track = TrackInfo(1, TrackType.AUDIO, "A_MS/ACM", codec_private_data=pcm_config(tag, 8000, 1))
    data = package(samples, [track], f"audio/{law}")
    assert list(packets_of(data)) == [(0, s.pts, s.data) for s in samples]
    with av.open(io.BytesIO(data), format="matroska") as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == (name, 8000, 1)
        assert sum(frame.samples for frame in container.decode(stream)) == 160 * 120


def test_fragments_contain_their_metadata() -> None:
    """ffmpeg accepts Tags between clusters, and finds every packet after them."""
    samples = [Sample(1, 40 * i, 40 * i, i % 5 == 0, b"x" * (i + 1)) for i in range(20)]
    track = TrackInfo(1, TrackType.VIDEO, "V_UNCOMPRESSED", width=4, height=4)
    data = package(samples, [track], "video/raw")
    assert data.count(b"fragment") == 4
    sizes = itertools.count(1)
    assert [len(payload) for _, _, payload in packets_of(data)] == [next(sizes) for _ in samples]


# --- the other way round: our parser reads what ffmpeg writes -----------------------------------


def mux(samples: list[Sample], encoder: str, options: dict[str, str]) -> bytes:
    """Write the samples with ffmpeg's Matroska muxer."""
    out = io.BytesIO()
    with av.open(out, "w", format="matroska", options=options) as container:
        stream: Any = container.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for sample in samples:
            packet = av.Packet(sample.data)
            packet.stream, packet.time_base = stream, MS
            packet.pts, packet.dts, packet.duration = sample.pts, sample.dts, 40
            packet.is_keyframe = sample.key
            container.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize(
    "options",
    [{}, {"live": "1"}, {"cluster_time_limit": "200"}, {"reserve_index_space": "5000"}],
    ids=["file", "live", "many clusters", "Void"],
)
@pytest.mark.parametrize("chunk", [1 << 20, 1000, 7])
def test_the_parser_reads_ffmpeg(options: dict[str, str], chunk: int) -> None:
    """Our parser finds the same packets as ffmpeg's demuxer.

    The files have known and unknown sizes, SeekHead, Void, Cues, Tags and CRC-32.
    """
    samples, _ = encode_video("libx264", g="10", bf="0")
    data = mux(samples, "libx264", options)
    parser = MkvParser()
    events: list[ev.Event] = []
    for start in range(0, len(data), chunk):
        parser.receive_data(data[start : start + chunk])
        while (event := parser.next_event()) is not None:
            events.append(event)
    parser.receive_eof()
    while (event := parser.next_event()) is not None:
        events.append(event)
    assert b"".join(event.raw for event in events) == data

    found, timecode = [], 0
    for event in events:
        if isinstance(event, ev.ClusterStart):
            timecode = event.timecode
        elif isinstance(event, ev.Block):
            at = timecode + event.relative_timecode - START_MS
            found.append((event.track_number - 1, at, bytes(event.frames[0])))
    assert found == list(packets_of(data))
    tracks = next(event for event in events if isinstance(event, ev.Tracks))
    entry = tracks.entries[0]
    assert (entry.codec_id, entry.width, entry.height) == ("V_MPEG4/ISO/AVC", 96, 64)
