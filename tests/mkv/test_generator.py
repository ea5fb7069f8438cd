"""Tests of the generator: where clusters start, the times of blocks, and refused frames.

The exact bytes of AWS's producer are checked by the golden cases (tests/golden).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.limits import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.mkv import (
    FrameFlags,
    FrameKind,
    MkvGenerator,
    MkvParser,
    NalAdaptation,
    Packed,
    TrackInfo,
    TrackType,
    tags,
)
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.generator import DEFAULT_SEGMENT_UUID
from kvsproducer.status import KvsError, StatusCode
from kvsproducer.version import APPLICATION

Make = Callable[..., MkvGenerator]
KEY = FrameFlags.KEY
START = 17_000_000_000_000_000


def put(generator: MkvGenerator, at_ms: int, flags: int = 0, **more: int) -> Packed:
    """Pack a frame of track 1 with pts = dts = START + `at_ms`."""
    pts = START + at_ms * TICKS_PER_MS
    values = {"track_id": 1, "pts": pts, "dts": pts, "duration": 400_000, "size": 4, **more}
    return generator.pack(flags=flags, **values)


def state(generator: MkvGenerator) -> tuple[Any, ...]:
    return (
        generator.started,
        generator.stream_start,
        generator.cluster_start,
        generator.header(),
        generator.tracks,
    )


def test_the_first_frame_starts_the_stream_even_without_key_flag(make_generator: Make) -> None:
    """The frame's header contains the stream header and the start of a cluster."""
    generator = make_generator()
    assert generator.kind_of(0, START) is FrameKind.STREAM
    packed = put(generator, 0)
    assert packed.kind is FrameKind.STREAM
    assert packed.header[: packed.prefix_length] == generator.header()
    assert packed.header[packed.prefix_length :].startswith(b"\x1f\x43\xb6\x75\xff\xe7\x88")
    assert generator.started
    assert generator.stream_start == START


def test_key_frames_start_clusters(make_generator: Make) -> None:
    generator = make_generator()
    put(generator, 0, KEY)
    assert put(generator, 40).kind is FrameKind.BLOCK
    assert generator.kind_of(KEY, START) is FrameKind.CLUSTER
    packed = put(generator, 80, KEY)
    assert (packed.kind, packed.prefix_length) == (FrameKind.CLUSTER, 0)


def test_early_key_frames_do_not_start_a_cluster(make_generator: Make) -> None:
    """They are blocks with the key flag, unless the fragment was ended; `check` changes nothing."""
    generator = make_generator(min_fragment_duration=200 * TICKS_PER_MS)
    put(generator, 0, KEY)
    soon = put(generator, 199, KEY)
    assert (soon.kind, soon.header[-1]) == (FrameKind.BLOCK, 0x80)
    assert put(generator, 200, KEY).kind is FrameKind.CLUSTER
    generator.close_fragment()
    generator.check(1, KEY, START + 210 * TICKS_PER_MS, START + 210 * TICKS_PER_MS, 0, 4)
    assert put(generator, 210, KEY).kind is FrameKind.CLUSTER
    assert put(generator, 220, KEY).kind is FrameKind.BLOCK
    generator.end_fragment()
    assert put(generator, 230, KEY).kind is FrameKind.CLUSTER


def test_durations_start_clusters_at_the_next_key_frame(make_generator: Make) -> None:
    """Frames without key flag, and key frames before that duration, do not start a cluster."""
    generator = make_generator(key_frame_fragmentation=False, fragment_duration=2 * 10**7)
    put(generator, 0, KEY)
    kinds = [(at, put(generator, at, flag).kind) for at, flag in ((1999, KEY), (2500, 0))]
    assert kinds == [(1999, FrameKind.BLOCK), (2500, FrameKind.BLOCK)]
    assert generator.kind_of(KEY, START + 2000 * TICKS_PER_MS) is FrameKind.CLUSTER
    assert put(generator, 2600, KEY).kind is FrameKind.CLUSTER


def test_times_are_cut_to_timecode_units(make_generator: Make) -> None:
    """`timestamp` comes from dts, `ack_timestamp` from pts; B-frames give them different orders."""
    generator = make_generator()
    put(generator, 0, KEY)
    packed = generator.pack(1, 0, START + 12_345_678, START + 2_345_678, 399_999, 4)
    assert packed.ack_timestamp == START + 12_340_000
    assert packed.timestamp == START + 2_340_000
    assert packed.duration == 390_000
    assert packed.header[10:12] == (1234).to_bytes(2)


def test_relative_timecodes_start_at_the_first_frame(make_generator: Make) -> None:
    """The cluster's timecode is relative; the times for matching acks are absolute."""
    generator = make_generator(absolute_timecodes=False)
    packed = put(generator, 0, KEY)
    assert packed.header[packed.prefix_length :][7:15] == bytes(8)
    packed = put(generator, 2000, KEY)
    assert packed.header[7:15] == (2000).to_bytes(8)
    assert packed.ack_timestamp == START + 2 * TICKS_PER_SECOND


def test_tracks_are_numbered_by_position(make_generator: Make) -> None:
    """The id is the TrackUID; if an id is repeated, the first track gets the frames."""
    tracks = [
        TrackInfo(7, TrackType.VIDEO, "V"),
        TrackInfo(300, TrackType.AUDIO, "A"),
        TrackInfo(7, TrackType.AUDIO, "A"),
    ]
    generator = make_generator(tracks=tracks)
    put(generator, 0, KEY, track_id=7)
    assert put(generator, 1, track_id=7).header[9] == 0x81
    assert put(generator, 1, track_id=300).header[9] == 0x82


@pytest.mark.parametrize(
    ("flags", "written"),
    [
        (FrameFlags.NONE, 0x00),
        (FrameFlags.DISCARDABLE, 0x01),
        (FrameFlags.INVISIBLE, 0x08),
        (FrameFlags.DISCARDABLE | FrameFlags.INVISIBLE, 0x09),
    ],
)
def test_block_flags(flags: FrameFlags, written: int, make_generator: Make) -> None:
    generator = make_generator()
    first = put(generator, 0, flags | KEY)
    assert first.header[-1] == written | 0x80
    assert put(generator, 1, flags).header[-1] == written


def test_plain_ints_and_unknown_flag_bits(make_generator: Make) -> None:
    """Flags can be FrameFlags or ints; unknown bits are ignored."""
    generator = make_generator()
    put(generator, 0, 0x101)
    assert put(generator, 1, 0x104).header[-1] == 0x08
    assert put(generator, 2, 0x111).kind is FrameKind.CLUSTER


TOO_EARLY = StatusCode.MKV_INVALID_FRAME_TIMESTAMP
TOO_LATE = StatusCode.MKV_LARGE_FRAME_TIMECODE


@pytest.mark.parametrize(
    ("flags", "pts_ms", "dts_ms", "status"),
    [
        (0, -1, 0, TOO_EARLY),
        (0, 0, -1, TOO_EARLY),
        (KEY, -1, 0, TOO_EARLY),
        (0, 32_768, 0, TOO_LATE),
    ],
)
def test_a_frame_outside_its_cluster_is_refused(
    flags: int, pts_ms: int, dts_ms: int, status: StatusCode, make_generator: Make
) -> None:
    """The generator does not change, and the error has the fragment's timecode."""
    generator = make_generator()
    put(generator, 0, KEY)
    before = state(generator)
    times = {"pts": START + pts_ms * TICKS_PER_MS, "dts": START + dts_ms * TICKS_PER_MS}
    with pytest.raises(KvsError) as caught:
        put(generator, 0, flags, **times)
    assert caught.value.status is status
    assert caught.value.timecode == START // TICKS_PER_MS
    assert state(generator) == before


@pytest.mark.parametrize("absolute", [True, False])
def test_a_fragment_starts_with_the_earliest_of_its_frames(
    absolute: bool, make_generator: Make
) -> None:
    """In open groups of pictures, the key frame is shown after some later pictures."""
    generator = make_generator(absolute_timecodes=absolute)
    media, origin = b"", START // TICKS_PER_MS if absolute else 0
    for at, flags, earliest in ((80, KEY, 0), (0, 0, 0), (120, 0, 0), (1080, KEY, 1000)):
        fragment_pts = START + earliest * TICKS_PER_MS
        packed = put(generator, at, flags, dts=START + at, fragment_pts=fragment_pts)
        media += packed.header + b"data"
        if flags:
            assert packed.ack_timestamp == generator.cluster_start[0] == fragment_pts
        else:
            assert packed.ack_timestamp == START + at * TICKS_PER_MS
    assert generator.stream_start == START
    found = [event for event in read(media) if isinstance(event, ev.ClusterStart | ev.Block)]
    assert [
        event.timecode if isinstance(event, ev.ClusterStart) else event.relative_timecode
        for event in found
    ] == [origin, 80, 0, 120, origin + 1000, 80]


@pytest.mark.parametrize(
    ("earliest_ms", "status", "allowed_ms"),
    [(-1, TOO_EARLY, 7_233), (40_001, TOO_EARLY, 40_000), (7_232, TOO_LATE, 7_233)],
)
def test_invalid_fragment_starts_are_refused(
    earliest_ms: int, status: StatusCode, allowed_ms: int, make_generator: Make
) -> None:
    """A start before the last fragment, after the first frame, or too long before it is refused."""
    generator = make_generator()
    put(generator, 0, KEY)
    before = state(generator)
    with pytest.raises(KvsError) as caught:
        put(generator, 40_000, KEY, fragment_pts=START + earliest_ms * TICKS_PER_MS)
    assert caught.value.status is status
    assert state(generator) == before
    put(generator, 40_000, KEY, fragment_pts=START + allowed_ms * TICKS_PER_MS)


def test_the_last_timecode_of_a_cluster_fits(make_generator: Make) -> None:
    generator = make_generator()
    put(generator, 0, KEY)
    assert put(generator, 32_767).header[10:12] == b"\x7f\xff"
    assert put(generator, 40_000, KEY).kind is FrameKind.CLUSTER


def test_reset_starts_a_new_stream_that_may_lie_in_the_past(make_generator: Make) -> None:
    generator = make_generator()
    first = put(generator, 5000, KEY)
    generator.reset()
    assert not generator.started
    assert (generator.stream_start, generator.cluster_start) == (0, (0, 0))
    again = put(generator, 0, KEY)
    assert again.kind is FrameKind.STREAM
    assert again.header[: again.prefix_length] == first.header[: first.prefix_length]


def test_overhead_is_the_size_of_the_header(make_generator: Make) -> None:
    generator = make_generator()
    for at, flags in ((0, KEY), (1, 0), (2, KEY)):
        packed = put(generator, at, flags)
        assert generator.overhead(packed.kind) == len(packed.header)


def test_timecodes_to_ticks(make_generator: Make) -> None:
    assert make_generator(timecode_scale=9_999_999).timecode_to_timestamp(3) == 29_999_997


def test_application_name_and_uuid_in_the_header(make_generator: Make) -> None:
    """The default is the package's name, followed by the client id, and AWS's default UUID."""
    info = first(make_generator(client_id="cam-7").header(), ev.SegmentInfo)
    assert info.muxing_app == info.writing_app == f"{APPLICATION} cam-7"
    assert info.title == APPLICATION
    assert info.segment_uid == DEFAULT_SEGMENT_UUID


def first(data: bytes, kind: type[Any]) -> Any:
    return next(event for event in read(data) if isinstance(event, kind))


def read(data: bytes) -> Iterator[ev.Event]:
    parser = MkvParser()
    parser.receive_data(data)
    parser.receive_eof()
    while (event := parser.next_event()) is not None:
        yield event


# --- codec private data in mid-stream ---------------------------------------------------------

AVCC = bytes.fromhex("0142c00affe100156742c00ada189a1000000300100000030328f1226a01000568ce039c80")


def test_new_private_data_appears_in_the_next_header(make_generator: Make) -> None:
    generator = make_generator()
    put(generator, 0, KEY)
    generator.set_codec_private_data(1, AVCC)
    assert (generator.tracks[0].width, generator.tracks[0].height) == (96, 64)
    generator.reset()
    packed = put(generator, 10, KEY)
    entry = first(packed.header, ev.Tracks).entries[0]
    assert (entry.codec_private, entry.width, entry.height) == (AVCC, 96, 64)


def test_empty_private_data_keeps_the_size(make_generator: Make) -> None:
    """As in AWS's producer, the values of the data before are kept."""
    generator = make_generator()
    generator.set_codec_private_data(1, AVCC)
    generator.set_codec_private_data(1, b"")
    assert (generator.tracks[0].codec_private_data, generator.tracks[0].width) == (b"", 96)


def test_adapted_private_data_is_not_converted(make_generator: Make) -> None:
    """A record is stored unchanged although the flags say that private data is Annex-B."""
    generator = make_generator(adaptation=NalAdaptation.ANNEXB_CPD_NALS)
    with pytest.raises(KvsError) as caught:
        generator.set_codec_private_data(1, AVCC)
    assert caught.value.status is StatusCode.MKV_MISSING_SPS_FROM_H264_CPD
    assert generator.tracks[0].codec_private_data == b""
    generator.set_codec_private_data(1, AVCC, adapted=True)
    assert generator.tracks[0].codec_private_data == AVCC


@pytest.mark.parametrize(
    ("track_id", "data", "status"),
    [
        (9, b"", StatusCode.MKV_TRACK_INFO_NOT_FOUND),
        (1, bytes(1024 * 1024 + 1), StatusCode.MKV_INVALID_CODEC_PRIVATE_LENGTH),
        (1, None, StatusCode.MKV_CODEC_PRIVATE_NULL),
    ],
)
def test_private_data_is_refused(
    track_id: int, data: bytes, status: StatusCode, make_generator: Make
) -> None:
    generator = make_generator()
    before = state(generator)
    with pytest.raises(KvsError) as caught:
        generator.set_codec_private_data(track_id, data)
    assert caught.value.status is status
    assert state(generator) == before


# --- whatever is packed reads back ------------------------------------------------------------

frames = st.lists(
    st.tuples(
        st.integers(1, 2),  # track
        st.integers(0, 7),  # flags
        st.integers(0, 400_000),  # distance in ticks
        st.integers(0, 400_000),  # pts - dts
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=40,
)


@given(
    frames,
    st.integers(1, TICKS_PER_SECOND),
    st.booleans(),
    st.booleans(),
    st.integers(TICKS_PER_SECOND, 2 * TICKS_PER_SECOND),
)
def test_round_trip_through_the_parser(
    given_frames: list[tuple[int, int, int, int, bytes]],
    scale: int,
    absolute: bool,
    by_key_frame: bool,
    duration: int,
) -> None:
    """Every accepted frame comes back with its track, time, flags and payload; refused ones
    (outside of their cluster) leave no trace."""
    generator = MkvGenerator(
        [TrackInfo(1, TrackType.VIDEO, "V"), TrackInfo(2, TrackType.AUDIO, "A")],
        content_type="x",
        timecode_scale=scale,
        absolute_timecodes=absolute,
        key_frame_fragmentation=by_key_frame,
        fragment_duration=duration,
    )
    written, expected, dts, refused = b"", [], START, set()
    for track, flags, step, delay, payload in given_frames:
        dts += step
        kind = generator.kind_of(flags, dts + delay)
        try:
            packed = generator.pack(track, flags, dts + delay, dts, step, len(payload))
        except KvsError as error:
            refused.add(error.status)
            continue
        assert packed.kind is kind
        cut = packed.prefix_length
        written += packed.header[:cut]
        if kind is not FrameKind.BLOCK:
            written += tags([("n", "v")])
        written += packed.header[cut:] + payload
        origin = 0 if absolute else generator.stream_start
        expected.append(
            (
                track,
                packed.ack_timestamp - origin,
                bool(flags & FrameFlags.KEY),
                bool(flags & FrameFlags.DISCARDABLE),
                bool(flags & FrameFlags.INVISIBLE),
                payload,
            )
        )
    found, timecode = [], 0
    for event in read(written):
        if isinstance(event, ev.ClusterStart):
            timecode = event.timecode
        elif isinstance(event, ev.Block):
            found.append(
                (
                    event.track_number,
                    (timecode + event.relative_timecode) * scale,
                    event.key_frame,
                    event.discardable,
                    event.invisible,
                    bytes(event.frames[0]),
                )
            )
    assert found == expected
    assert refused <= {TOO_EARLY, TOO_LATE}


@pytest.mark.parametrize("scale", [1, 7, 10_000])
def test_range_of_block_times(scale: int, make_generator: Make) -> None:
    """Blocks fit from the fragment's start to the last possible time, for each timecode scale."""
    generator = make_generator(timecode_scale=scale)
    assert generator.block_room == 0
    put(generator, 0, KEY, pts=START + 80 * scale, fragment_pts=START)
    assert generator.block_start == START - START % scale
    assert generator.block_room == 32_768 * scale
    last = generator.block_start + generator.block_room - 1
    for pts in (generator.block_start, START + 3 * scale + 1, last):
        put(generator, 0, pts=pts, dts=START)
    with pytest.raises(KvsError) as caught:
        put(generator, 0, pts=last + 1, dts=START)
    assert caught.value.status is TOO_LATE
    generator.end_fragment()
    assert generator.block_room == 0


def test_strict_requires_equal_pts_and_dts_at_a_fragment_start(make_generator: Make) -> None:
    """Times are compared in timecode units, so a smaller difference is accepted."""
    generator = make_generator(strict=True)
    with pytest.raises(KvsError) as caught:
        put(generator, 1, KEY, dts=START)
    assert caught.value.status is StatusCode.MKV_PTS_DTS_ARE_NOT_SAME
    assert put(generator, 1, KEY, dts=START + TICKS_PER_MS + 9_999).kind is FrameKind.STREAM
    assert put(generator, 9, dts=START + 5 * TICKS_PER_MS).kind is FrameKind.BLOCK


def test_checking_a_frame_changes_nothing(make_generator: Make) -> None:
    """`check` raises what `pack` would raise, and never changes the generator."""
    generator = make_generator()
    frame = {"track_id": 1, "pts": START, "dts": START, "duration": 0, "size": 4}
    generator.check(flags=KEY, **frame)  # would begin the stream
    assert not generator.started
    put(generator, 0, KEY)
    before = state(generator)
    generator.check(flags=KEY, **{**frame, "pts": START + TICKS_PER_SECOND})  # a cluster
    generator.check(flags=0, **frame)  # a block
    assert state(generator) == before
    for wrong, status in (
        ({"track_id": 7}, StatusCode.MKV_TRACK_INFO_NOT_FOUND),
        ({"size": 0}, StatusCode.MKV_INVALID_FRAME_DATA),
        ({"pts": START - TICKS_PER_SECOND}, StatusCode.MKV_INVALID_FRAME_TIMESTAMP),
    ):
        with pytest.raises(KvsError) as caught:
            generator.check(flags=0, **{**frame, **wrong})
        assert caught.value.status is status
        assert state(generator) == before
    generator.end_fragment()
    generator.check(flags=KEY, **{**frame, "pts": START + TICKS_PER_SECOND})
    with pytest.raises(KvsError) as caught:  # the fragment is still ended
        put(generator, 40)
    assert caught.value.status is StatusCode.MKV_INVALID_GENERATOR_STATE_TAGS


def test_a_fragment_that_is_kept_open_accepts_a_key_frame(make_generator: Make) -> None:
    """A key frame at that time is a block; a later one starts a cluster."""
    generator = make_generator()
    put(generator, 0, KEY)
    generator.keep_open(START + 400 * TICKS_PER_MS)
    kept = put(generator, 400, KEY)
    assert (kept.kind, kept.header[-1]) == (FrameKind.BLOCK, 0x80)
    assert put(generator, 401, KEY).kind is FrameKind.CLUSTER
