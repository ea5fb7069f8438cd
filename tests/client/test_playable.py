"""Stored media can be played: real media in many forms is put, and what is stored is decoded.

Each form is either stored completely and decodes to as many pictures as were put, or it is refused
when it is put, with advice.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from typing import Any, Literal, NamedTuple

import av
import pytest

from kvsproducer import client as kvs
from kvsproducer.codecs.audio import parse_aac_config
from kvsproducer.codecs.h264 import build_avcc
from kvsproducer.codecs.h265 import build_hvcc
from kvsproducer.codecs.nal import VideoCodec, nal_type, split_annexb
from kvsproducer.mkv import NalAdaptation
from kvsproducer.status import KvsError, StatusCode

NOW = 17_000_000_000_000_000
MS = 10_000
CODE = b"\0\0\0\1"
FRAMES = 50
CODECS = list(VideoCodec)
Picture = tuple[list[bytes], bool]  # NAL units, and whether it is a key picture
_ENCODERS = {
    "h264": ("libx264", "x264-params", "scenecut=0:keyint=25:slices={}:repeat-headers=1"),
    "h265": ("libx265", "x265-params", "log-level=none:scenecut=0:keyint=25:slices={}"),
}
PICTURE_KINDS = {VideoCodec.H264: range(1, 6), VideoCodec.H265: range(32)}
SETS = {VideoCodec.H264: (7, 8), VideoCodec.H265: (32, 33, 34)}


class Put(NamedTuple):
    """One call of `put_frame`."""

    data: bytes
    index: int
    key: bool
    later: int = 0  # ms after the time of its picture


@cache
def encode(codec: VideoCodec, slices: int = 1, size: int = 128) -> list[Picture]:
    encoder, name, options = _ENCODERS[codec]
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = size, size, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.max_b_frames = 0
    context.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        name: options.format(slices) + ":sliced-threads=0" * (codec == "h264"),
    }
    packets: list[Any] = []
    for number in range(FRAMES):
        frame = av.VideoFrame(size, size, "yuv420p")
        for plane in frame.planes:
            row = bytes((number * 7 + place) % 256 for place in range(16))
            plane.update((row * plane.buffer_size)[: plane.buffer_size])
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    return [([bytes(u) for u in split_annexb(bytes(p))], bool(p.is_keyframe)) for p in packets]


def annexb(units: Iterable[bytes]) -> bytes:
    return b"".join(CODE + unit for unit in units)


def lengths(units: Iterable[bytes]) -> bytes:
    return b"".join(len(unit).to_bytes(4) + unit for unit in units)


def split(codec: VideoCodec, units: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the units without a picture, and the slices."""
    head = [unit for unit in units if nal_type(unit, codec) not in PICTURE_KINDS[codec]]
    return head, [unit for unit in units if unit not in head]


def record(codec: VideoCodec, pictures: list[Picture]) -> bytes:
    return (build_avcc if codec is VideoCodec.H264 else build_hvcc)(pictures[0][0])


def open_stream(info: kvs.StreamInfo) -> kvs.Stream:
    client = kvs.Client(kvs.DeviceInfo(), now=NOW, dice=lambda sides: sides // 2)
    return client.open_stream(info.with_name("s"), NOW)


def put_all(stream: kvs.Stream, puts: Iterable[Put], track_id: int = 1) -> list[KvsError]:
    errors = []
    for put in puts:
        pts = NOW + (put.index * 40 + put.later) * MS
        frame = kvs.Frame(put.data, pts, key_frame=put.key, track_id=track_id)
        try:
            stream.put_frame(frame, NOW)
        except KvsError as error:
            errors.append(error)
    return errors


def stored_mkv(stream: kvs.Stream) -> bytes:
    """Return the held items as MKV, after the header of the first session."""
    view = stream._core.buffer.view
    items = [view[index] for index in range(view.tail, view.head)]
    return b"".join(item.header + b"".join(item.payload) for item in items)


def count_decoded(stream: kvs.Stream, kind: Literal["video", "audio"] = "video") -> int:
    """Return how many frames a player decodes; raise if one is damaged."""
    with av.open(io.BytesIO(stored_mkv(stream)), options={"err_detect": "explode"}) as media:
        track = media.streams.get(**{kind: 0})[0]
        track.codec_context.options = {"err_detect": "explode"}  # type: ignore[attr-defined]
        return sum(1 for _ in media.decode(track))


def simple(codec: VideoCodec, form: Callable[[list[bytes]], bytes]) -> list[Put]:
    return [Put(form(units), n, key) for n, (units, key) in enumerate(encode(codec))]


# --- pictures that are stored ---------------------------------------------------------------------
def sets_apart(codec: VideoCodec) -> list[Put]:
    """Put everything before a picture in its own call, without key flag and at an odd time."""
    puts = []
    for number, (units, key) in enumerate(encode(codec)):
        head, slices = split(codec, units)
        if head:
            puts.append(Put(annexb(head), number, False))
        puts.append(Put(annexb(slices), number, key))
    return puts


def unit_by_unit(codec: VideoCodec) -> list[Put]:
    """Put one NAL unit per call, each with the flag of its picture."""
    return [
        Put(CODE + unit, number, key)
        for number, (units, key) in enumerate(encode(codec))
        for unit in units
    ]


def flag_on_sets(codec: VideoCodec) -> list[Put]:
    """Put one NAL unit per call; only the first unit of a key picture has the flag."""
    return [
        Put(CODE + unit, number, key and place == 0)
        for number, (units, key) in enumerate(encode(codec))
        for place, unit in enumerate(units)
    ]


def all_flagged(codec: VideoCodec) -> list[Put]:
    return [Put(annexb(units), n, True) for n, (units, _) in enumerate(encode(codec))]


def padded(codec: VideoCodec) -> list[Put]:
    """Use delimiters, three-byte start codes, zeros, and an empty unit at the end."""
    delimiter = b"\x09\xf0" if codec is VideoCodec.H264 else b"\x46\x01\x50"
    return [
        Put(b"".join(b"\0\0\1" + unit for unit in [delimiter, *units]) + CODE + bytes(9), n, key)
        for n, (units, key) in enumerate(encode(codec))
    ]


STORED: list[Callable[[VideoCodec], list[Put]]] = [
    lambda codec: simple(codec, annexb),
    sets_apart,
    unit_by_unit,
    flag_on_sets,
    all_flagged,
    padded,
]


@pytest.mark.parametrize("shape", range(len(STORED)))
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("ordered", [False, True])
def test_annexb_is_stored_completely_and_plays(
    codec: VideoCodec, shape: int, ordered: bool
) -> None:
    """Its units may be split into calls and flagged in several ways."""
    mode = kvs.FrameOrderMode(4 * ordered)
    stream = open_stream(kvs.StreamInfo.video(codec, frame_order_mode=mode))
    assert put_all(stream, STORED[shape](codec)) == []
    assert stream.account() == (FRAMES, 0, 0, 0, FRAMES)
    assert stored_mkv(stream).count(b"\x1f\x43\xb6\x75\xff\xe7\x88") == 2, (
        "a fragment a key picture"
    )
    assert count_decoded(stream) == FRAMES


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_frames_with_lengths_play(codec: VideoCodec, given: bool, apart: bool) -> None:
    """They come with the record or with sets in band; delimiters and SEI may be put alone."""
    pictures = encode(codec)
    data = record(codec, pictures) if given else b""
    options = {} if given else {"nal_adaptation": NalAdaptation.NONE}
    stream = open_stream(kvs.StreamInfo.video(codec, codec_private_data=data, **options))
    puts = []
    for number, (units, key) in enumerate(pictures):
        head, slices = split(codec, units)
        if given:
            head = [unit for unit in head if nal_type(unit, codec) not in SETS[codec]]
        if apart and given and head:
            puts.append(Put(lengths(head), number, False))
            head = []
        puts.append(Put(lengths(head + slices), number, key))
    assert put_all(stream, puts) == []
    assert stream.account().accepted == FRAMES
    assert count_decoded(stream) == FRAMES


@pytest.mark.parametrize("codec", CODECS)
def test_parameter_sets_that_come_late(codec: VideoCodec) -> None:
    """The first group cannot be decoded: its key picture is refused, the others are skipped."""
    puts = [
        Put(annexb(units if number >= 25 else split(codec, units)[1]), number, key)
        for number, (units, key) in enumerate(encode(codec))
    ]
    stream = open_stream(kvs.StreamInfo.video(codec))
    (error,) = put_all(stream, puts)
    assert error.status in (
        StatusCode.MKV_MISSING_SPS_FROM_H264_CPD,
        StatusCode.MKV_ANNEXB_CPD_MISSING_NALUS,
    )
    assert "repeat-headers=1" in error.detail
    assert stream.account() == (25, 0, 0, 24, 25)
    assert count_decoded(stream) == 25


@pytest.mark.parametrize("codec", CODECS)
def test_given_parameter_sets_are_enough(codec: VideoCodec) -> None:
    """The frames have none; Annex-B or a record is given as codec private data."""
    pictures = encode(codec)
    sets = [unit for unit in pictures[0][0] if nal_type(unit, codec) in SETS[codec]]
    bare = [Put(annexb(split(codec, u)[1]), n, key) for n, (u, key) in enumerate(pictures)]
    stream = open_stream(kvs.StreamInfo.video(codec, codec_private_data=annexb(sets)))
    assert put_all(stream, bare) == []
    assert count_decoded(stream) == FRAMES
    both = {"nal_adaptation": NalAdaptation.ANNEXB_NALS}
    data = record(codec, pictures)
    stream = open_stream(kvs.StreamInfo.video(codec, codec_private_data=data, **both))
    assert put_all(stream, bare) == []
    assert count_decoded(stream) == FRAMES


# --- pictures that are refused --------------------------------------------------------------------
def one_missing(codec: VideoCodec) -> list[Put]:
    """Leave out the PPS."""
    kind = SETS[codec][-1]
    return [
        Put(annexb(u for u in units if nal_type(u, codec) != kind), n, key)
        for n, (units, key) in enumerate(encode(codec))
    ]


def other(codec: VideoCodec) -> list[Put]:
    return simple(CODECS[codec is VideoCodec.H264], annexb)


def noise(start: bytes) -> Callable[[VideoCodec], list[Put]]:
    return lambda _: [Put(start + bytes([5]) * 300, n, n % 25 == 0) for n in range(FRAMES)]


REFUSED: list[tuple[Callable[[VideoCodec], list[Put]], str]] = [
    (one_missing, "without PPS"),
    (other, 'open the stream with StreamInfo.video\\("h26'),
    (lambda codec: simple(codec, lengths), "have lengths"),
    (noise(b"\xff\xd8\xff\xe0"), "a JPEG image.*encode it first"),
    (noise(b"\x89PNG\r\n\x1a\n"), "a PNG image.*encode it first"),
    (lambda _: [Put(bytes([7]) * 921_600, 0, True)], "640x480 with 24 bits"),
    (lambda _: [Put(bytes(640 * 480 * 3 // 2), 0, True)], "640x480 with 12 bits"),
    (noise(b""), "does not look like H.26"),
    (lambda _: [Put(CODE, 0, True)], "no NAL unit"),
    (lambda _: [Put(b"\0\0\1" * 10_000, 0, True)], "no NAL unit"),
]


@pytest.mark.parametrize("shape", range(len(REFUSED)))
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("ordered", [False, True])
def test_frames_that_no_player_could_decode_are_refused(
    codec: VideoCodec, shape: int, ordered: bool
) -> None:
    """Neither the key pictures nor the pictures after them are stored."""
    make, advice = REFUSED[shape]
    mode = kvs.FrameOrderMode(4 * ordered)
    stream = open_stream(kvs.StreamInfo.video(codec, frame_order_mode=mode))
    errors = put_all(stream, make(codec))
    stream.stop(NOW)
    with pytest.raises(KvsError, match=advice):
        raise errors[0]
    assert stream.account().accepted == 0


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("later", [0, 3])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_picture_that_is_put_slice_by_slice_is_refused(
    codec: VideoCodec, later: int, ordered: bool
) -> None:
    """Its second slice is refused, and the pictures that need it are skipped."""
    puts = []
    for number, (units, key) in enumerate(encode(codec, slices=4, size=320)):
        head, slices = split(codec, units)
        assert len(slices) > 1
        for place, unit in enumerate(slices):
            data = annexb([*head, unit] if place == 0 else [unit])
            puts.append(Put(data, number, key and place == 0, place * later))
    mode = kvs.FrameOrderMode(4 * ordered)
    stream = open_stream(kvs.StreamInfo.video(codec, frame_order_mode=mode))
    errors = put_all(stream, puts)
    assert "whole access units" in errors[0].detail
    if not ordered:
        assert stream.account().accepted == 2, "the first slice of each key picture"
    whole = simple(codec, annexb)
    stream = open_stream(kvs.StreamInfo.video(codec, frame_order_mode=mode))
    assert put_all(stream, whole) == []


@pytest.mark.parametrize("codec", CODECS)
def test_without_conversion_recognizable_errors_are_refused(
    codec: VideoCodec,
) -> None:
    """That is Annex-B, lengths without sets, and images; anything else is accepted."""
    none = {"nal_adaptation": NalAdaptation.NONE}
    bare = [
        Put(lengths(split(codec, units)[1]), n, key) for n, (units, key) in enumerate(encode(codec))
    ]
    for puts, advice in (
        (simple(codec, annexb), "Annex-B.*nal_adaptation="),
        (bare, "codec_private_data="),
        (REFUSED[3][0](codec), "JPEG"),
        (REFUSED[5][0](codec), "raw pixels"),
    ):
        stream = open_stream(kvs.StreamInfo.video(codec, **none))
        errors = put_all(stream, puts)
        with pytest.raises(KvsError, match=advice):
            raise errors[0]
        assert stream.account().accepted == 0
    stream = open_stream(kvs.StreamInfo.video(codec, **none))
    assert put_all(stream, [Put(b"after" * 100, n, n == 0) for n in range(5)]) == []
    assert stream.account().accepted == 5


@pytest.mark.parametrize("codec", CODECS)
def test_picture_of_the_size_of_raw_pixels_is_accepted(codec: VideoCodec) -> None:
    """Its NAL lengths add up, so it is a picture; a filler unit gives it that size."""
    head, slices = split(codec, encode(codec)[0][0])
    begin = b"\x0c" if codec == "h264" else b"\x4c\x01"  # filler data: types 12 and 38
    rest = 640 * 480 * 3 - len(lengths([*head, *slices])) - 4
    filler = begin + b"\xff" * (rest - len(begin) - 1) + b"\x80"
    data = lengths([*head, *slices, filler])
    assert len(data) == 640 * 480 * 3
    stream = open_stream(kvs.StreamInfo.video(codec, nal_adaptation=NalAdaptation.NONE))
    assert put_all(stream, [Put(data, 0, True)]) == []
    assert stream.account().accepted == 1


@pytest.mark.parametrize("codec", CODECS)
def test_annexb_beside_a_record_is_refused(codec: VideoCodec) -> None:
    """The record says that frames have lengths."""
    data = record(codec, encode(codec))
    stream = open_stream(kvs.StreamInfo.video(codec, codec_private_data=data))
    errors = put_all(stream, simple(codec, annexb))
    assert "Annex-B" in errors[0].detail
    assert stream.account().accepted == 0
    bare = [Put(annexb(split(codec, u)[1]), n, k) for n, (u, k) in enumerate(encode(codec))]
    assert "Annex-B" in put_all(stream, bare)[0].detail


@pytest.mark.parametrize("codec", CODECS)
def test_unreadable_private_data_is_passed_on(codec: VideoCodec) -> None:
    """The caller is responsible for it, as with AWS's producer."""
    none = {"nal_adaptation": NalAdaptation.NONE}
    stream = open_stream(kvs.StreamInfo.video(codec, codec_private_data=b"own data", **none))
    puts = simple(codec, annexb)
    assert put_all(stream, puts) == []
    assert b"own data" in stored_mkv(stream)


def test_placeholder_frames_are_accepted() -> None:
    """Test programs put data that no decoder would accept as a picture."""
    stream = open_stream(kvs.StreamInfo.video("h264"))
    puts = [
        Put(CODE + (b"\x65" if n % 25 == 0 else b"\x41") + b"aaaa", n, n == 0) for n in range(9)
    ]
    assert put_all(stream, puts) == []
    assert stream.account().accepted == 9


def test_a_frame_of_very_many_units_is_held_as_one_buffer() -> None:
    """Each buffer costs extra memory, so a frame of tiny units would cost 30 times its size."""
    stream = open_stream(kvs.StreamInfo.video("h264"))
    used = []
    for number in range(3):
        data = (CODE + b"\x41") * 100_000
        assert put_all(stream, [Put(data, number, number == 0)]) == []
        used.append(stream.charged_bytes)
    assert used[2] < 4 * len(data)
    assert stored_mkv(stream).count(b"\0\0\0\1\x41") == 300_000


def test_a_waiting_frame_is_joined_with_its_parameter_sets_once() -> None:
    """A put that finds no space is repeated with the same frame."""
    info = kvs.StreamInfo.video("h264", streaming_type=kvs.StreamingType.OFFLINE)
    stream = open_stream(info)
    puts = sets_apart(VideoCodec.H264)
    put_all(stream, puts[:1])
    frame = kvs.Frame(puts[1].data, NOW, key_frame=True)
    intake = stream._intake
    first, again = intake._formats.check(frame), intake._formats.check(frame)
    assert first is not None
    assert again is not None
    assert first.data == again.data == puts[0].data + puts[1].data
    assert put_all(stream, puts[1:]) == []
    assert count_decoded(stream) == FRAMES


# --- sound ----------------------------------------------------------------------------------------
@cache
def aac(rate: int = 16_000, layout: str = "mono") -> tuple[list[bytes], bytes]:
    """Return raw frames and their AudioSpecificConfig."""
    context: Any = av.CodecContext.create("aac", "w")
    context.sample_rate, context.layout, context.format = rate, layout, "fltp"
    context.time_base = Fraction(1, rate)
    context.open()
    frames = []
    for number in range(60):
        frame = av.AudioFrame("fltp", layout, 1024)
        frame.sample_rate, frame.pts = rate, number * 1024
        for plane in frame.planes:
            plane.update((b"\0\0\0\x3e\0\0\0\xbe" * 512)[: plane.buffer_size])
        frames += context.encode(frame)
    return [bytes(packet) for packet in frames], bytes(context.extradata)


def adts(frame: bytes, *, rate_index: int = 8, channels: int = 1, crc: bool = False) -> bytes:
    size = len(frame) + (9 if crc else 7)
    word = 1 << 38 | rate_index << 34 | channels << 30 | size << 13 | 0x7FF << 2
    return bytes((0xFF, 0xF0 if crc else 0xF1)) + word.to_bytes(5) + bytes(2 * crc) + frame


def sound(frames: Iterable[bytes]) -> list[Put]:
    return [Put(data, number, True) for number, data in enumerate(frames)]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("mode", list(kvs.FrameOrderMode))
def test_adts_headers_are_removed_and_give_the_configuration(
    given: bool, crc: bool, mode: kvs.FrameOrderMode
) -> None:
    """Each frame plays, whether or not private data was given."""
    frames, config = aac()
    data = config if given else b""
    stream = open_stream(
        kvs.StreamInfo.audio("aac", codec_private_data=data, frame_order_mode=mode)
    )
    assert put_all(stream, sound(adts(frame, crc=crc) for frame in frames)) == []
    assert stream.account().accepted == len(frames)
    (track,) = stream._core.generator.tracks
    assert parse_aac_config(track.codec_private_data).sampling_frequency == 16_000
    assert (track.sampling_frequency, track.channels) == (16_000.0, 1)
    assert count_decoded(stream, "audio") >= len(frames) - 1


def test_raw_aac_needs_its_configuration() -> None:
    frames, config = aac()
    stream = open_stream(kvs.StreamInfo.audio("aac"))
    errors = put_all(stream, sound(frames))
    assert len(errors) == len(frames)
    assert errors[0].status is StatusCode.MKV_INVALID_AAC_CPD
    assert "codec_private_data=" in errors[0].detail
    stream = open_stream(kvs.StreamInfo.audio("aac", codec_private_data=config))
    assert put_all(stream, sound(frames)) == []
    assert count_decoded(stream, "audio") >= len(frames) - 1


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (adts(b"\x21" * 50, channels=0), "channel configuration 0"),
        (adts(b"\x21" * 50) + adts(b"\x21" * 50), "one whole AAC frame"),
        (adts(b"\x21" * 50)[:-1], "one whole AAC frame"),
        (b"\x56\xe0\x04" + b"\x20" * 4, "LATM"),
        (CODE + b"\x67\x42\xc0\x1e", "start code of video"),
    ],
)
def test_sound_that_no_player_could_decode_is_refused(data: bytes, advice: str) -> None:
    stream = open_stream(kvs.StreamInfo.audio("aac"))
    with pytest.raises(KvsError, match=advice):
        stream.put_frame(kvs.Frame(data, NOW), NOW)
    assert stream.account().accepted == 0


def test_a_change_of_the_configuration_begins_a_session() -> None:
    """In a stream of sound alone it begins at once, and nothing is lost."""
    stream = open_stream(kvs.StreamInfo.audio("aac"))
    first = [adts(frame) for frame in aac()[0]]
    second = [adts(frame, rate_index=3, channels=2) for frame in aac(48_000, "stereo")[0]]
    assert put_all(stream, sound(first + second)) == []
    assert stream.account().accepted == len(first) + len(second)
    rates = [parse_aac_config(config).sampling_frequency for config in configs(stream)]
    assert rates == [16_000, 48_000]


def configs(stream: kvs.Stream) -> list[bytes]:
    """Return the two bytes of AudioSpecificConfig in each session's header."""
    found, data = [], stored_mkv(stream)
    while (place := data.find(b"\x63\xa2\x82")) >= 0:
        found.append(data[place + 3 : place + 5])
        data = data[place + 5 :]
    return found


@pytest.mark.parametrize("codec", ["alaw", "mulaw"])
@pytest.mark.parametrize(("rate", "channels"), [(0, 0), (16_000, 2)])
def test_g711_gets_its_header(codec: str, rate: int, channels: int) -> None:
    """It says 8000 Hz and one channel, unless the track says otherwise."""
    info = kvs.StreamInfo.audio(codec)
    (track,) = info.tracks
    values = {
        "track_id": 1,
        "track_type": track.track_type,
        "codec_id": track.codec_id,
        "sampling_frequency": float(rate),
        "channels": channels,
    }
    made = kvs.StreamInfo.from_dict({"tracks": [values], "content_type": info.content_type})
    stream = open_stream(made)
    assert put_all(stream, sound([bytes(range(160))] * 20)) == []
    with av.open(io.BytesIO(stored_mkv(stream))) as media:
        context: Any = media.streams.audio[0].codec_context
        assert (context.sample_rate, context.channels) == (rate or 8000, channels or 1)
        assert context.name == f"pcm_{codec}"


@pytest.mark.parametrize(
    ("data", "advice"), [(adts(b"\x21" * 50), 'audio\\("aac"'), (b"RIFF\0\0\0\0WAVEfmt ", "WAV")]
)
def test_g711_tracks_refuse_other_formats(data: bytes, advice: str) -> None:
    stream = open_stream(kvs.StreamInfo.audio("alaw"))
    with pytest.raises(KvsError, match=advice):
        stream.put_frame(kvs.Frame(data, NOW), NOW)
    stream.put_frame(kvs.Frame(b"\xff\xf1" * 80, NOW), NOW)  # almost silence
    assert stream.account().accepted == 1


@pytest.mark.parametrize("mode", list(kvs.FrameOrderMode))
def test_pictures_and_adts_play(mode: kvs.FrameOrderMode) -> None:
    """If sound comes first, the header of the first session has the data of both tracks."""
    stream = open_stream(kvs.StreamInfo.audio_video("h264", "aac", frame_order_mode=mode))
    frames = aac()[0]
    for number, (units, key) in enumerate(encode(VideoCodec.H264)):
        pts = NOW + number * 64 * MS
        stream.put_frame(kvs.Frame(adts(frames[number]), pts, track_id=2, key_frame=True), NOW)
        stream.put_frame(kvs.Frame(annexb(units), pts, key_frame=key), NOW)
    stream.stop(NOW)
    assert stream.account().dropped == 0
    assert stream.account().accepted >= 2 * FRAMES - 1
    assert count_decoded(stream) == FRAMES
    assert count_decoded(stream, "audio") >= FRAMES - 3


def test_pictures_without_the_configuration_of_the_sound_are_refused() -> None:
    """In the order of the puts pictures come first, and no player could play both tracks."""
    info = kvs.StreamInfo.audio_video(
        "h264", "aac", frame_order_mode=kvs.FrameOrderMode.PASS_THROUGH
    )
    stream = open_stream(info)
    puts = simple(VideoCodec.H264, annexb)
    (error,) = put_all(stream, puts[:2])
    assert error.status is StatusCode.MKV_INVALID_AAC_CPD
    assert "track 2" in error.detail
    stream.put_frame(kvs.Frame(adts(aac()[0][0]), NOW, track_id=2), NOW)
    assert put_all(stream, puts[2:]) == []
    assert count_decoded(stream) == 25


def test_a_new_configuration_beside_pictures_is_used_at_the_next_key_picture() -> None:
    """Until then sound is skipped and counted."""
    info = kvs.StreamInfo.audio_video(
        "h264", "aac", frame_order_mode=kvs.FrameOrderMode.PASS_THROUGH
    )
    stream = open_stream(info)
    old, new = adts(aac()[0][5]), adts(aac(48_000, "stereo")[0][5], rate_index=3, channels=2)
    stream.put_frame(kvs.Frame(old, NOW, track_id=2), NOW)
    for number, put in enumerate(simple(VideoCodec.H264, annexb)):
        put_all(stream, [put])
        pts = NOW + number * 40 * MS
        stream.put_frame(kvs.Frame(old if number < 10 else new, pts, track_id=2), NOW)
    assert stream.account().skipped == 1 + 15
    assert stream.account().accepted == 100 - 15
    assert [parse_aac_config(each).sampling_frequency for each in configs(stream)] == [
        16_000,
        48_000,
    ]
