"""Times at the border of two fragments: the service accepts each fragment that the client makes.

The tests pass the client's output to the endpoint's own PutMedia session, which refuses what the
service would refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.fragment import FragmentNumbers
from kvsproducer.endpoint.put_media import PutMediaRequest, PutMediaSession
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv import events as mkv
from kvsproducer.status import KvsError, StatusCode

NOW = 17_000_000_000_000_000
MS = 10_000
SECOND = 10_000_000
REFUSALS = (StatusCode.MKV_INVALID_FRAME_TIMESTAMP, StatusCode.MKV_LARGE_FRAME_TIMECODE)
Desks = Callable[..., Any]


def put(d: Any, ms: float, *, key: bool = False, track: int = 1, **more: Any) -> None:
    frame = kvs.Frame(b"data", NOW + int(ms * MS), key_frame=key, track_id=track, **more)
    d.stream.put_frame(frame, d.now)
    d.settle()


def store_all(d: Any) -> list[list[tuple[int, float]]]:
    """Return the fragments that a service accepts: track and time (ms since NOW) of each block."""
    d.stream.stop(d.now)
    data, _ = d.read()
    session = PutMediaSession(PutMediaRequest(), FragmentNumbers(), d.now, EndpointLimits())
    session.receive_data(data, d.now)
    session.receive_eof(d.now)
    assert session.refusal == ""
    scale = d.stream.info.timecode_scale
    found: list[list[tuple[int, float]]] = []
    while (fragment := session.next_fragment()) is not None:
        parser, timecode = MkvParser(), 0
        parser.receive_data(b"".join(fragment.parts))
        found.append([])
        while (event := parser.next_event()) is not None:
            if isinstance(event, mkv.ClusterStart):
                timecode = event.timecode
            elif isinstance(event, mkv.Block):
                time = (timecode + event.relative_timecode) * scale - NOW
                found[-1].append((event.track_number, time / MS))
    return found


def test_a_key_frame_at_the_time_of_the_frame_before_is_moved_by_a_unit(desk: Desks) -> None:
    """The frames after it that have the same time are moved too."""
    d = desk()
    for ms, key in ((0, True), (400, False), (400, True), (400, False), (440, False)):
        put(d, ms, key=key)
    assert store_all(d) == [[(1, 0), (1, 400)], [(1, 401), (1, 401), (1, 440)]]
    assert d.stream.account().accepted == 5


def test_b_frames_at_the_time_of_the_next_fragment(desk: Desks) -> None:
    """The next fragment starts after the latest time, whichever frame has it."""
    d = desk()
    put(d, 80, key=True, dts=NOW)
    put(d, 480, dts=NOW + 40 * MS)
    put(d, 280, dts=NOW + 80 * MS)
    put(d, 480, key=True, dts=NOW + 120 * MS)
    put(d, 600, dts=NOW + 160 * MS)
    assert store_all(d) == [[(1, 80), (1, 480), (1, 280)], [(1, 481), (1, 600)]]


def test_key_frames_within_one_unit_continue_the_fragment(desk: Desks) -> None:
    """With a scale of 1 s, no frame is lost, and times stay within 2 s of the original."""
    d = desk(timecode_scale=SECOND)
    for index in range(100):
        put(d, index * 40, key=index % 10 == 0)
    fragments = store_all(d)
    assert sum(map(len, fragments)) == 100
    times = [time for fragment in fragments for _, time in fragment]
    assert times == sorted(times)
    assert all(abs(time - index * 40) < 2000 for index, time in enumerate(times))


def test_sound_at_the_border_of_two_fragments(desk: Desks) -> None:
    """Times of a track increase from fragment to fragment; other tracks do not matter."""
    d = desk(frame_order_mode=0)
    both = kvs.StreamInfo.audio_video(
        "h264", "aac", name="both", nal_adaptation=0, frame_order_mode=0
    )
    d.stream = d.client.open_stream(both, d.now)
    d.settle()
    put(d, 0, key=True)
    put(d, 390, track=2)
    put(d, 400, track=2)
    put(d, 400, key=True)
    put(d, 400, track=2)
    put(d, 420, track=2)
    assert store_all(d) == [[(1, 0), (2, 390), (2, 400)], [(1, 400), (2, 401), (2, 420)]]


def test_a_key_frame_after_an_end_of_fragment_is_moved_or_refused(desk: Desks) -> None:
    """It is moved by one unit, or refused. Then the frames that depend on it are skipped."""
    d = desk()
    for index in range(4):
        put(d, index * 400, key=True)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    put(d, 1200, key=True)
    d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    with pytest.raises(KvsError) as caught:
        put(d, 1200, key=True)
    assert caught.value.status is StatusCode.MKV_INVALID_FRAME_TIMESTAMP
    put(d, 1210)
    put(d, 1240, key=True)
    assert d.stream.account() == (6, 0, 0, 1, 6)
    assert store_all(d) == [[(1, t)] for t in (0, 400, 800, 1200, 1201, 1240)]


def test_frames_put_within_one_unit_of_the_clock(desk: Desks) -> None:
    """In a stream without own times, frames get the time of their put."""
    d = desk(frame_timecodes=False)
    for index in range(12):
        d.now = NOW + index // 4 * 500 * MS
        put(d, 0, key=index % 2 == 0)
    fragments = store_all(d)
    assert sum(map(len, fragments)) == 12
    assert len(fragments) == 3


def test_a_fragment_is_limited_to_20_s(desk: Desks) -> None:
    """The service refuses longer ones, so later frames are skipped up to the next key frame."""
    d = desk()
    for index in range(60):
        if index == 41:
            with pytest.raises(KvsError) as caught:
                put(d, index * 500)
            assert caught.value.status is StatusCode.MKV_LARGE_FRAME_TIMECODE
            assert "20 s" in caught.value.detail
        else:
            put(d, index * 500, key=index == 0)
    put(d, 30_000, key=True)
    assert d.stream.account() == (42, 0, 0, 18, 42)
    assert [len(fragment) for fragment in store_all(d)] == [41, 1]


def test_the_limit_applies_within_a_fragment_only(desk: Desks) -> None:
    """Pictures a minute apart are accepted if each is a fragment of its own."""
    d = desk()
    for index in range(10):
        d.now = NOW + index * 60 * SECOND
        put(d, index * 60_000, key=True)
    assert len(store_all(d)) == 10


@pytest.mark.parametrize("scale", [1, MS, 10 * MS, SECOND])
def test_frames_with_any_accepted_times_are_stored(desk: Desks, scale: int) -> None:
    """The distances of frames and key frames vary."""
    steps = (0, 40, 40, 0, 0, 3, 400, 0.4, 0, 40, 300, 0, 0, 1, 200)
    d, time = desk(timecode_scale=scale), 0.0
    for index in range(300):
        time += steps[index % len(steps)]
        try:
            put(d, time, key=index % 4 == 0)
        except KvsError as error:
            if error.status not in REFUSALS:
                raise
    assert sum(map(len, store_all(d))) == d.stream.account().accepted


def test_frame_before_the_latest_of_its_track_in_the_fragment_before_is_refused(
    desk: Desks,
) -> None:
    """The service would refuse its whole fragment."""
    d = desk()
    both = kvs.StreamInfo.audio_video(
        "h264", "aac", name="both", nal_adaptation=0, frame_order_mode=0
    )
    d.stream = d.client.open_stream(both, d.now)
    d.settle()
    put(d, 0, key=True)
    put(d, 500, track=2, dts=NOW + 390 * MS)
    put(d, 400, key=True)
    with pytest.raises(KvsError, match="pts 1700000000450 is not after 1700000000500") as caught:
        put(d, 450, track=2, dts=NOW + 410 * MS)
    assert caught.value.status is StatusCode.MKV_INVALID_FRAME_TIMESTAMP
    put(d, 510, track=2)
    assert store_all(d) == [[(1, 0), (2, 500)], [(1, 400), (2, 510)]]
