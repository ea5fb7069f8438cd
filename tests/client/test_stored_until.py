"""`Stream.stored_until` and `FragmentStored` report the media time up to which all is settled."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.client.conftest import MS, NOW, SECOND, Desk, filled

from kvsproducer import client as kvs
from kvsproducer.client import events as ev

Desks = Callable[..., Any]


def pts(index: int) -> int:
    """Return the time of frame `index` of a desk."""
    return NOW + index * 200 * MS


def put_exact(d: Desk, time: int, *, key: bool = False, **more: Any) -> None:
    """Put a frame with that pts."""
    frame = kvs.Frame(b"data", time, duration=40 * MS, key_frame=key, **more)
    d.stream.put_frame(frame, d.now)
    d.settle()


def put_shown(d: Desk, shown: int, place: int, *, key: bool = False, lead: int = 0) -> None:
    """Put the frame that is shown as number `shown` as the one decoded at `place`."""
    put_exact(d, pts(shown), key=key, dts=early(place), lead=lead)


def ack_at(d: Desk, kind: str, time: int, error: int = 0) -> None:
    """Acknowledge the fragment that starts at a time."""
    extra = f',"ErrorId":{error}' if error else ""
    text = f'{{"EventType":"{kind}","FragmentTimecode":{time // MS},"FragmentNumber":"1"{extra}}}'
    d.stream.receive_ack(d.upload, text.encode(), d.now)
    d.settle()


def test_stored_until_follows_the_fragments(desk: Desks) -> None:
    """It is None at first, then the end of each stored fragment; each has an event."""
    d, _ = filled(desk, 12)
    assert d.stream.stored_until is None
    d.read()
    d.now += 3 * SECOND
    d.ack("RECEIVED", 0)
    assert d.stream.stored_until is None
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(4)
    assert d.reported(ev.FragmentStored) == [
        ev.FragmentStored("door", pts(0), pts(4), 5, "1", (d.now - NOW) / SECOND)
    ]
    d.ack("PERSISTED", 1)
    assert d.stream.stored_until == pts(9)
    assert [event.frames for event in d.reported(ev.FragmentStored)] == [5, 5]


def test_an_ack_covers_the_fragments_before_it(desk: Desks) -> None:
    """Each has its own event, but without a number, because that comes with its own ack."""
    d, _ = filled(desk, 12)
    d.read()
    d.ack("PERSISTED", 1)
    assert d.stream.stored_until == pts(9)
    stored = d.reported(ev.FragmentStored)
    assert [(event.first_pts, event.fragment_number) for event in stored] == [
        (pts(0), ""),
        (pts(5), "1"),
    ]


def test_a_refused_fragment_counts_as_settled_once_it_is_reported(desk: Desks) -> None:
    """It is skipped as soon as everything before it is stored."""
    d, _ = filled(desk, 12)
    d.read()
    d.ack("ERROR", 1, error=4006)
    assert d.stream.stored_until == pts(0) - 1  # the first fragment is held
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(9)
    assert d.stream.lost_pts == (pts(5), pts(9))
    assert [event.frames for event in d.reported(ev.FragmentStored)] == [5]


def test_media_that_is_sent_again_counts_once_it_is_stored(desk: Desks) -> None:
    """The service could not archive the fragment, so it is sent again."""
    d, _ = filled(desk, 12)
    d.read()
    d.ack("ERROR", 0, error=5000)
    assert d.stream.stored_until is None
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(4)


def test_reordered_pictures(desk: Desks) -> None:
    """B-frames are put after pictures that are shown later.

    Open groups of pictures start before their key frame.
    """
    d = desk()
    for decoded, shown in enumerate((0, 3, 1, 2, 6, 4, 5)):
        put_shown(d, shown, decoded, key=not decoded)
    put_shown(d, 9, 7, key=True, lead=400 * MS)
    put_shown(d, 7, 8)
    put_shown(d, 8, 9)
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(6)
    (stored,) = d.reported(ev.FragmentStored)
    assert (stored.first_pts, stored.last_pts, stored.frames) == (pts(0), pts(6), 7)


def test_times_are_those_of_the_puts(desk: Desks) -> None:
    """They are not rounded to the timecode unit in which they are stored."""
    d = desk()
    for index in range(7):
        put_exact(d, pts(index) + 7, key=index % 5 == 0)
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(4) + 7


def test_stored_until_decreases_after_a_jump_back(desk: Desks) -> None:
    """It follows the new time line, although the old one was later."""
    d, _ = filled(desk, 5)
    d.stream.end_fragment(d.now)
    d.settle()
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(4)
    d.stream.reset(d.now)
    d.settle()
    before = NOW - 60 * SECOND
    for index in range(6):
        put_exact(d, before + index * 200 * MS, key=index % 5 == 0)
    assert d.stream.stored_until == before - 1
    d.read()
    d.ack("PERSISTED", -60)
    assert d.stream.stored_until == before + 800 * MS


def test_moved_frames_count_with_their_original_time() -> None:
    """A picture that is moved by a timecode unit counts with the time of its put."""
    info = kvs.StreamInfo.audio_video("h264", "aac", nal_adaptation=kvs.NalAdaptation.NONE)
    d = Desk(
        tracks=info.tracks, content_type=info.content_type, frame_order_mode=info.frame_order_mode
    )
    for index in range(50):
        time = NOW + index * 40 * MS
        for track in (2, 1):
            key = track == 1 and index % 25 == 0
            put_exact(d, time, key=key, track_id=track)
    d.read()
    d.ack("PERSISTED", 0)
    border = NOW + 25 * 40 * MS
    until = d.stream.stored_until
    assert until is not None
    assert border - 40 * MS <= until < border


@pytest.mark.parametrize("seed", range(30))
def test_stored_until_is_before_all_held_frames(desk: Desks, seed: int) -> None:
    """Fragments have random lengths and display orders; acks are lost, refused or repeated."""
    dice = random.Random(seed)
    d = desk()
    settled: set[int] = set()
    fragments: list[list[int]] = []
    shown = 0
    for _ in range(12):
        size = dice.randrange(1, 7)
        times = list(range(shown + 1, shown + size))
        dice.shuffle(times)
        times.insert(0, shown)
        for decoded, time in enumerate(times):
            put_shown(d, time, shown + decoded, key=not decoded)
        fragments.append(times)
        shown += size
    d.read()
    for times in fragments[:-1]:
        start = times[0]
        match dice.randrange(5):
            case 0:
                continue  # its ack is lost; the next one covers it
            case 1:
                ack_at(d, "ERROR", pts(start), error=4006)
                d.read()
            case _:
                for _ in range(dice.randrange(1, 3)):
                    ack_at(d, "PERSISTED", pts(start))
        account = d.stream.account()
        settled = {
            time
            for event in (*d.reported(ev.FragmentStored), *d.reported(ev.FrameDropped))
            for time in covered(event, fragments)
        }
        assert account.held == sum(map(len, fragments)) - len(settled)
        until = d.stream.stored_until
        held = [pts(time) for times in fragments for time in times if time not in settled]
        assert until is None or until < min(held)
        done = [pts(time) for time in settled if pts(time) < min(held)]
        if done:
            assert until is not None
            assert max(done) <= until
    assert d.stream.account().persisted == sum(e.frames for e in d.reported(ev.FragmentStored))


def covered(event: ev.Event, fragments: list[list[int]]) -> list[int]:
    """Return the frames that an event covers, as display numbers."""
    if isinstance(event, ev.FragmentStored):
        (times,) = (times for times in fragments if pts(min(times)) == event.first_pts)
        assert len(times) == event.frames
        assert event.last_pts == pts(max(times))
        return times
    assert isinstance(event, ev.FrameDropped)
    times = [time for one in fragments for time in one]
    dropped = [
        time for place, time in enumerate(times) if event.first <= early(place) <= event.last
    ]
    assert len(dropped) == event.count
    return dropped


def early(place: int) -> int:
    """Return the dts of the frame that is decoded at `place`."""
    return pts(place) - 3 * 200 * MS
