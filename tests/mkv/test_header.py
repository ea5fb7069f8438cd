"""Tests of the stream header with our parser; the golden cases have its exact bytes."""

from __future__ import annotations

from collections.abc import Callable

from kvsproducer.mkv import MkvGenerator, TrackInfo, TrackType
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.header import segment_info, stream_header

UUID = bytes(range(16))
Parse = Callable[[list[bytes]], list[ev.Event]]


def head(tracks: list[TrackInfo], **info: object) -> bytes:
    values: dict[str, object] = {
        "segment_uuid": UUID,
        "timecode_scale": 10_000,
        "title": "t",
        "application": "a",
        **info,
    }
    return stream_header(segment_info(**values), tracks)  # type: ignore[arg-type]


def entries(events: list[ev.Event]) -> list[ev.TrackEntry]:
    return next(event.entries for event in events if isinstance(event, ev.Tracks))


def test_info_reads_back(parse: Parse) -> None:
    """The fields of the Info element can be parsed; a scale of 1 ms is 1,000,000 ns."""
    events = parse([head([], title="Tür", application="cam 1")])
    info = next(event for event in events if isinstance(event, ev.SegmentInfo))
    assert (info.timecode_scale_ns, info.segment_uid) == (1_000_000, UUID)
    assert (info.title, info.muxing_app, info.writing_app) == ("Tür", "cam 1", "cam 1")


def test_a_client_id_of_the_maximum_length_is_complete(parse: Parse) -> None:
    """All 64 characters are written; AWS's producer loses the last one."""
    generator = MkvGenerator(
        [TrackInfo(1, TrackType.VIDEO, "V_X")], content_type="video/h264", client_id="c" * 64
    )
    events = parse([generator.header()])
    info = next(event for event in events if isinstance(event, ev.SegmentInfo))
    assert info.writing_app.endswith(" " + "c" * 64)


def test_tracks_read_back(parse: Parse) -> None:
    """Track numbers are positions, ids are UIDs; sizes and rates are in Video or Audio."""
    tracks = [
        TrackInfo(7, TrackType.VIDEO, "V_X", "front", b"\1\2", width=96, height=64),
        TrackInfo(
            2**64 - 1,
            TrackType.AUDIO,
            "A_X",
            sampling_frequency=44_100.0,
            channels=2,
            bit_depth=16,
        ),
        TrackInfo(9, TrackType.UNKNOWN, "", width=5, height=5),
    ]
    assert entries(parse([head(tracks)])) == [
        ev.TrackEntry(1, 7, 1, "front", "V_X", b"\1\2", 96, 64),
        ev.TrackEntry(2, 2**64 - 1, 2, "", "A_X", b"", 0, 0, 44_100.0, 2, 16),
        ev.TrackEntry(3, 9, 3),
    ]


def test_unknown_values_are_left_out() -> None:
    """A width without height, a rate of 0, and a depth of 0 are not written."""
    video = TrackInfo(1, TrackType.VIDEO, "V", width=96)
    audio = TrackInfo(1, TrackType.AUDIO, "A", channels=2, bit_depth=8)
    rate = TrackInfo(1, TrackType.AUDIO, "A", sampling_frequency=8000.0, channels=1)
    assert b"\xe0" not in head([video])[-24:]
    assert b"\xe1" not in head([audio])[-24:]
    assert head([rate]).endswith(b"\x9f\x81\x01")


def test_large_values_take_more_bytes(parse: Parse) -> None:
    """AWS's producer cuts them to 16 and 8 bits (DEFECTS 15)."""
    tracks = [
        TrackInfo(1, TrackType.VIDEO, "V", width=65_536, height=300_000),
        TrackInfo(2, TrackType.AUDIO, "A", sampling_frequency=8000.0, channels=300, bit_depth=512),
    ]
    video, audio = entries(parse([head(tracks)]))
    assert (video.width, video.height) == (65_536, 300_000)
    assert (audio.channels, audio.bit_depth) == (300, 512)
