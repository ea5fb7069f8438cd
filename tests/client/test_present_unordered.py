"""A track that has no frames in a stream whose tracks are not put in order (PASS_THROUGH)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.client.test_present import MS, NOW, SECOND, Pair, declared

from kvsproducer import client as kvs
from kvsproducer.client.buffer.view import FRAGMENT_START, STREAM_START
from kvsproducer.client.presets import audio_track
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv import events as mkv
from kvsproducer.status import StatusCode

Desks = Callable[..., Any]


class Unordered(Pair):
    """`Pair` in the order of the puts; time passes between the frames."""

    def __init__(self, desk: Desks, **more: Any) -> None:
        super().__init__(desk, frame_order_mode=kvs.FrameOrderMode.PASS_THROUGH, **more)

    def put(
        self, first: int, last: int, *, video: float | None = 0, audio: float | None = 0
    ) -> int:
        self.d.now = NOW + last * 40 * MS
        return super().put(first, last, video=video, audio=audio)

    def fragments(self) -> list[tuple[set[int], set[int]]]:
        """Of each fragment: the tracks that its session declares, and those it has."""
        found: list[tuple[set[int], set[int]]] = []
        tracks: set[int] = set()
        for _, item in sorted(self.stream._core.buffer.view.items.items()):
            if item.flags & STREAM_START:
                tracks = declared(item.header)
            if item.flags & FRAGMENT_START:
                found.append((tracks, set()))
            found[-1][1].add(item.header[-4] & 0x7F)
        return found

    @property
    def refused_fragments(self) -> list[int]:
        """The numbers of the fragments that a service refuses (4011)."""
        return [n for n, (tracks, found) in enumerate(self.fragments()) if tracks != found]


@pytest.mark.parametrize("begun", [0, 100])
def test_microphone_that_is_off(desk: Desks, begun: int) -> None:
    """It costs the fragments of 5 s; the next ones declare the pictures only."""
    pair = Unordered(desk)
    pair.put(0, begun)
    assert pair.put(begun, begun + 400, audio=None) == 0
    assert pair.told() == [("TrackSilent", 2)]
    last = pair.d.told(kvs.TrackSilent)[0].last
    assert last == (None if not begun else NOW + 99 * 40 * MS + 5 * MS)
    refused = pair.refused_fragments
    assert refused == list(range(begun // 10, begun // 10 + len(refused)))
    assert 5 * SECOND <= len(refused) * 400 * MS <= 6 * SECOND
    assert pair.fragments()[-1] == ({1}, {1})
    assert pair.stream.account().dropped == 0


def test_microphone_that_is_on_again(desk: Desks) -> None:
    """Its sound is skipped up to the next key frame, and stored from then on."""
    pair = Unordered(desk)
    pair.put(0, 303, audio=None)
    assert pair.put(303, 400) == 0
    assert pair.told() == [("TrackSilent", 2), ("TrackResumed", 2)]
    assert pair.stream.account().skipped == 7
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})
    assert all(number < 20 for number in pair.refused_fragments)


def test_pictures_that_stop(desk: Desks) -> None:
    """Sound fills the fragment up to what a service takes, and goes on in fragments of its own."""
    pair = Unordered(desk)
    pair.put(0, 100)
    assert pair.put(100, 800, video=None) == 0
    assert pair.told() == [("TrackSilent", 1)]
    assert pair.refused_fragments == []
    fragments = pair.fragments()
    assert fragments[10] == ({2}, {2})
    assert len(fragments) >= 10 + 3, "they are of some seconds, to be stored soon"
    assert pair.put(800, 900) == 0
    assert pair.told() == [("TrackSilent", 1), ("TrackResumed", 1)]
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})
    assert pair.stream.account().skipped == 0


def test_pictures_that_come_back_before_they_are_missed(desk: Desks) -> None:
    """The key frame that ends a fragment without pictures shows that they are not silent."""
    pair = Unordered(desk)
    pair.put(0, 100)
    assert pair.put(100, 250, video=None) == 0
    assert pair.put(250, 300) == 0
    assert pair.told() == []
    assert pair.fragments()[-5:] == [({1, 2}, {1, 2})] * 5
    assert pair.stream.account().skipped == 0


def test_picture_that_comes_back_as_the_fragment_is_full(desk: Desks) -> None:
    """A track is not left out with one of its frames, and no session lacks what it begins with."""
    pair = Unordered(desk)
    pair.put(0, 100)
    pair.put(100, 589, video=None)
    pair.put(589, 595, audio=None)  # 20 s after the key frame
    pair.put(595, 700)
    for tracks, found in pair.fragments():
        assert found <= tracks
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})


def test_pictures_that_never_begin(desk: Desks) -> None:
    """Sound is skipped for as long as they are waited for."""
    pair = Unordered(desk)
    pair.put(0, 300, video=None)
    assert pair.told() == [("TrackSilent", 1)]
    assert {tuple(tracks) for tracks, _ in pair.fragments()} == {(2,)}
    assert pair.stream.account().skipped == 126


def test_pause_of_a_track_that_costs_no_fragment(desk: Desks) -> None:
    """Fragments of 10 s with sound in each of them, and with none for 4 s."""
    pair = Unordered(desk)
    for index in range(1000):
        key = index % 250 == 0
        pair.stream.put_frame(kvs.Frame(b"x", NOW + index * 40 * MS, key_frame=key), pair.d.now)
        if index % 250 < 150:
            frame = kvs.Frame(b"x", NOW + index * 40 * MS, track_id=2)
            pair.stream.put_frame(frame, pair.d.now)
    pair.d.settle()
    assert pair.told() == []
    assert pair.refused_fragments == []


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
def test_time_that_jumps_silences_no_track(desk: Desks, off: float) -> None:
    """What was before the jump says nothing about what is after it."""
    pair = Unordered(desk)
    pair.put(0, 100)
    pair.put(100, 300, video=off, audio=off)
    assert pair.told() == []
    pair.put(300, 500, video=off, audio=None)
    assert pair.told() == [("TrackSilent", 2)]


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
def test_time_that_jumps_while_the_pictures_are_silent(desk: Desks, off: float) -> None:
    """Sound goes on alone after 5 s, and the pictures come back there.

    Until then it is refused when it goes back, and held when it is ahead.
    """
    pair = Unordered(desk)
    pair.put(0, 100)
    pair.put(100, 110, video=None)
    refused = pair.put(110, 360, video=None, audio=off)
    assert refused == 0 if off > 0 else 120 <= refused <= 130
    assert pair.told() == [("TrackSilent", 1)]
    assert pair.put(360, 500, video=off, audio=off) <= 4
    assert pair.told() == [("TrackSilent", 1), ("TrackResumed", 1)]
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})


def test_reset_stream_has_all_its_tracks_again(desk: Desks) -> None:
    """A single track is never left out, and two are not left out together."""
    pair = Unordered(desk)
    pair.put(0, 300, audio=None)
    pair.stream.reset(pair.d.now)
    pair.d.settle()
    pair.put(300, 340)
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})
    d = desk()
    for index in range(200):
        d.put(index)
    assert d.told(kvs.TrackSilent) == []


def refuse(pair: Unordered, second: int) -> None:
    """The service has read the fragment that begins then, and lacks a track in it."""
    pair.d.stream = pair.stream
    pair.d.read()
    pair.d.ack("ERROR", second, error=4011)


def sent(pair: Unordered) -> tuple[set[int], list[int]]:
    """What the newest upload is given: the tracks that are declared, and the frames' numbers."""
    pair.d.stream = pair.stream
    parser = MkvParser()
    parser.receive_data(pair.d.read()[0])
    tracks: set[int] = set()
    frames: list[int] = []
    while (event := parser.next_event()) is not None:
        if isinstance(event, mkv.Tracks):
            tracks = {entry.number for entry in event.entries}
        elif isinstance(event, mkv.Block):
            frames.append(int(event.frames[0]))
    return tracks, frames


def slowly(pair: Unordered, first: int, last: int, *, audio: bool) -> None:
    """Pictures 200 ms apart, a key frame each second, and sound with each of them, perhaps."""
    for index in range(first, last):
        for track in (1, 2) if audio else (1,):
            pts = NOW + index * 200 * MS
            frame = kvs.Frame(
                b"%d" % index, pts, key_frame=track == 1 and index % 5 == 0, track_id=track
            )
            pair.stream.put_frame(frame, pair.d.now)
            pair.d.settle()


def test_refused_fragment_is_sent_again_without_the_track(desk: Desks) -> None:
    """The service says it before the 5 s are over, and nothing is lost."""
    pair = Unordered(desk)
    slowly(pair, 0, 12, audio=False)
    refuse(pair, 0)
    assert pair.told() == [("TrackSilent", 2)]
    assert sent(pair) == ({1}, list(range(12)))
    slowly(pair, 12, 50, audio=False)
    rest = pair.d.read()[0]
    assert b"49" in rest
    assert b"\x1a\x45\xdf\xa3" not in rest, "the session goes on"
    assert pair.stream.account() == (50, 0, 0, 0, 50)
    assert pair.d.told(kvs.StreamErrorReported)[0].status is StatusCode(0x5200007D)


def test_sound_after_a_session_was_declared_anew(desk: Desks) -> None:
    """It is in the session that the next key frame begins."""
    pair = Unordered(desk)
    slowly(pair, 0, 12, audio=False)
    refuse(pair, 0)
    slowly(pair, 12, 20, audio=True)
    assert pair.told() == [("TrackSilent", 2), ("TrackResumed", 2)]
    assert pair.stream.account().skipped == 3
    assert sent(pair) == ({1}, list(range(15)))
    pair.d.ack("PERSISTED", 0)
    pair.d.ack("PERSISTED", 1)
    pair.d.ack("PERSISTED", 2)
    pair.d.read()
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})


def test_what_is_before_the_refused_fragment_keeps_its_tracks(desk: Desks) -> None:
    """It was sent, but not stored yet, and is sent again in a session of its own."""
    pair = Unordered(desk, replay_duration=20)
    slowly(pair, 0, 10, audio=True)
    slowly(pair, 10, 22, audio=False)
    refuse(pair, 2)
    assert pair.told() == [("TrackSilent", 2)]
    both = [index for index in range(10) for _ in range(2)]
    assert sent(pair) == ({1, 2}, both)
    pair.d.ack("PERSISTED", 0)
    pair.d.ack("PERSISTED", 1)
    pair.d.read()
    pair.stream.put_frame(kvs.Frame(b"22", NOW + 22 * 200 * MS), pair.d.now)
    pair.d.settle()
    assert sent(pair) == ({1}, list(range(10, 23)))
    assert pair.stream.account().dropped == 0


def test_fragments_of_an_older_session_are_sent_again_too(desk: Desks) -> None:
    """The track was found to be silent while the service could not be reached."""
    pair = Unordered(desk)
    slowly(pair, 0, 50, audio=False)
    assert pair.told() == [("TrackSilent", 2)]
    refuse(pair, 0)
    tracks, frames = sent(pair)
    assert tracks == {1}
    assert frames == list(range(frames[-1] + 1))
    assert pair.stream.account().dropped == 0


def test_fragment_that_lacks_a_track_which_is_there_is_lost(desk: Desks) -> None:
    """As it was: its session has frames of the track."""
    pair = Unordered(desk)
    slowly(pair, 0, 5, audio=False)
    slowly(pair, 5, 15, audio=True)
    refuse(pair, 0)
    assert pair.told() == []
    assert pair.stream.account().dropped == 5
    assert sent(pair)[0] == {1, 2}


def test_second_refusal_loses_the_fragment(desk: Desks) -> None:
    """A service that still lacks a track is not asked without end."""
    pair = Unordered(desk)
    slowly(pair, 0, 12, audio=False)
    refuse(pair, 0)
    refuse(pair, 0)
    assert pair.stream.account().dropped == 5


@pytest.mark.parametrize("acked", [False, True])
def test_end_of_fragment_silences_no_track(desk: Desks, acked: bool) -> None:
    """Neither a mark nor an empty view says anything about the tracks."""
    pair = Unordered(desk)
    pair.put(0, 10)
    pair.stream.end_fragment(pair.d.now)
    if acked:
        pair.d.stream = pair.stream
        pair.d.read()
        pair.d.ack("PERSISTED", 0)
        assert pair.stream.account().held == 0
    assert pair.put(10, 20) == 0
    assert pair.told() == []
    assert pair.fragments()[-1][1] == {1, 2}
    assert pair.stream.account().held == (20 if acked else 40)


def test_sound_track_that_comes_back_beside_another_one(desk: Desks) -> None:
    """A session with both begins at once: each sound packet can be decoded alone."""
    pair = Unordered(desk)
    tracks = tuple(audio_track("alaw", number)[0] for number in (1, 2))
    info = kvs.StreamInfo(name="sound", content_type="audio/alaw", tracks=tracks)
    pair.stream = pair.d.client.open_stream(info, pair.d.now)
    pair.d.settle()
    pair.put(0, 100)
    assert pair.put(100, 300, audio=None) == 0
    assert pair.told() == [("TrackSilent", 2)]
    assert pair.fragments()[-1] == ({1}, {1})
    assert pair.put(300, 400) == 0
    assert pair.told() == [("TrackSilent", 2), ("TrackResumed", 2)]
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})
    assert pair.stream.account() == (600, 0, 0, 0, 600)


def test_fragment_refused_while_its_first_frame_is_sent(desk: Desks) -> None:
    """It is sent again from its start, with one stream header, which lacks the track."""
    pair = Unordered(desk)
    slowly(pair, 0, 7, audio=False)
    pair.d.stream = pair.stream
    pair.d.read(limit=50)
    pair.d.ack("ERROR", 0, error=4011)
    assert pair.told() == [("TrackSilent", 2)]
    data = pair.d.read()[0]
    assert data.count(b"\x1a\x45\xdf\xa3") == 1
    assert declared(data) == {1}
    assert pair.stream.account() == (7, 0, 0, 0, 7)
    assert pair.stream.charged_bytes == pair.d.client.store.used_bytes
