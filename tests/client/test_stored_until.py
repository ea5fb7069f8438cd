"""`Stream.stored_until` and `FragmentStored`: up to which media time everything is settled."""

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
    """The time of frame `index` of a desk."""
    return NOW + index * 200 * MS


def put_exact(d: Desk, time: int, *, key: bool = False, **more: Any) -> None:
    """Put a frame with that pts."""
    frame = kvs.Frame(b"data", time, duration=40 * MS, key_frame=key, **more)
    d.stream.put_frame(frame, d.now)
    d.settle()


def put_shown(d: Desk, shown: int, place: int, *, key: bool = False, lead: int = 0) -> None:
    """Put the frame that is shown as number `shown`, in that place."""
    put_exact(d, pts(shown), key=key, dts=early(place), lead=lead)


def ack_at(d: Desk, kind: str, time: int, error: int = 0) -> None:
    """Acknowledge the fragment that starts then."""
    extra = f',"ErrorId":{error}' if error else ""
    text = f'{{"EventType":"{kind}","FragmentTimecode":{time // MS},"FragmentNumber":"1"{extra}}}'
    d.stream.receive_ack(d.upload, text.encode(), d.now)
    d.settle()


def test_it_follows_the_fragments(desk: Desks) -> None:
    """None, then the end of each fragment that is stored; an event for each."""
    d, _ = filled(desk, 12)
    assert d.stream.stored_until is None
    d.read()
    d.now += 3 * SECOND
    d.ack("RECEIVED", 0)
    assert d.stream.stored_until is None
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(4)
    assert d.told(ev.FragmentStored) == [
        ev.FragmentStored("door", pts(0), pts(4), 5, "1", (d.now - NOW) / SECOND)
    ]
    d.ack("PERSISTED", 1)
    assert d.stream.stored_until == pts(9)
    assert [event.frames for event in d.told(ev.FragmentStored)] == [5, 5]


def test_an_ack_covers_the_fragments_before_it(desk: Desks) -> None:
    """Those have an event each, without the number, which their own ack would have given."""
    d, _ = filled(desk, 12)
    d.read()
    d.ack("PERSISTED", 1)
    assert d.stream.stored_until == pts(9)
    stored = d.told(ev.FragmentStored)
    assert [(event.first_pts, event.fragment_number) for event in stored] == [
        (pts(0), ""),
        (pts(5), "1"),
    ]


def test_a_refused_fragment_counts_once_it_was_reported(desk: Desks) -> None:
    """It is passed over as soon as what is before it is stored."""
    d, _ = filled(desk, 12)
    d.read()
    d.ack("ERROR", 1, error=4006)
    assert d.stream.stored_until == pts(0) - 1  # the first fragment is held
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(9)
    assert d.stream.lost_pts == (pts(5), pts(9))
    assert [event.frames for event in d.told(ev.FragmentStored)] == [5]


def test_media_that_is_sent_again_counts_when_it_is_stored(desk: Desks) -> None:
    """A fragment that the service could not archive is sent again."""
    d, _ = filled(desk, 12)
    d.read()
    d.ack("ERROR", 0, error=5000)
    assert d.stream.stored_until is None
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(4)


def test_reordered_pictures(desk: Desks) -> None:
    """B-frames are put after the pictures that are shown later; open groups reach back."""
    d = desk()
    for decoded, shown in enumerate((0, 3, 1, 2, 6, 4, 5)):
        put_shown(d, shown, decoded, key=not decoded)
    put_shown(d, 9, 7, key=True, lead=400 * MS)
    put_shown(d, 7, 8)
    put_shown(d, 8, 9)
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(6)
    (stored,) = d.told(ev.FragmentStored)
    assert (stored.first_pts, stored.last_pts, stored.frames) == (pts(0), pts(6), 7)


def test_times_are_those_that_frames_were_put_with(desk: Desks) -> None:
    """Not cut to the timecode unit in which they are stored."""
    d = desk()
    for index in range(7):
        put_exact(d, pts(index) + 7, key=index % 5 == 0)
    d.read()
    d.ack("PERSISTED", 0)
    assert d.stream.stored_until == pts(4) + 7


def test_it_goes_back_with_a_jump_of_time(desk: Desks) -> None:
    """It follows the new time line, though the old one reached farther."""
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


def test_ties_between_tracks_count_with_the_given_time() -> None:
    """A picture that is moved by a timecode unit holds the time that it was put with."""
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
def test_it_never_passes_what_is_held(desk: Desks, seed: int) -> None:
    """Fragments of random length and order of display, acks lost, refused or repeated."""
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
            for event in (*d.told(ev.FragmentStored), *d.told(ev.FrameDropped))
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
    assert d.stream.account().persisted == sum(e.frames for e in d.told(ev.FragmentStored))


def covered(event: ev.Event, fragments: list[list[int]]) -> list[int]:
    """Return the frames, by the order of display, that an event is about."""
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
    """The dts of the frame that is put in that place."""
    return pts(place) - 3 * 200 * MS
