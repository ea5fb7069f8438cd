"""A track without frames in a stream whose tracks are not ordered (PASS_THROUGH)."""

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
        """Return for each fragment the declared tracks of its session, and the tracks it has."""
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
def test_a_microphone_that_is_off(desk: Desks, begun: int) -> None:
    """The fragments of 5 s are refused; the next ones declare only the pictures."""
    pair = Unordered(desk)
    pair.put(0, begun)
    assert pair.put(begun, begun + 400, audio=None) == 0
    assert pair.reported() == [("TrackSilent", 2)]
    last = pair.d.reported(kvs.TrackSilent)[0].last
    assert last == (None if not begun else NOW + 99 * 40 * MS + 5 * MS)
    refused = pair.refused_fragments
    assert refused == list(range(begun // 10, begun // 10 + len(refused)))
    assert 5 * SECOND <= len(refused) * 400 * MS <= 6 * SECOND
    assert pair.fragments()[-1] == ({1}, {1})
    assert pair.stream.account().dropped == 0


def test_a_microphone_that_is_on_again(desk: Desks) -> None:
    """Its sound is skipped up to the next key frame, and stored after that."""
    pair = Unordered(desk)
    pair.put(0, 303, audio=None)
    assert pair.put(303, 400) == 0
    assert pair.reported() == [("TrackSilent", 2), ("TrackResumed", 2)]
    assert pair.stream.account().skipped == 7
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})
    assert all(number < 20 for number in pair.refused_fragments)


def test_pictures_that_stop(desk: Desks) -> None:
    """Sound fills the fragment up to its limit, and then gets fragments of its own."""
    pair = Unordered(desk)
    pair.put(0, 100)
    assert pair.put(100, 800, video=None) == 0
    assert pair.reported() == [("TrackSilent", 1)]
    assert pair.refused_fragments == []
    fragments = pair.fragments()
    assert fragments[10] == ({2}, {2})
    assert len(fragments) >= 10 + 3, "they are of some seconds, to be stored soon"
    assert pair.put(800, 900) == 0
    assert pair.reported() == [("TrackSilent", 1), ("TrackResumed", 1)]
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})
    assert pair.stream.account().skipped == 0


def test_pictures_that_come_back_before_the_fragment_is_full(desk: Desks) -> None:
    """The key frame that ends a fragment without pictures shows that they are not silent."""
    pair = Unordered(desk)
    pair.put(0, 100)
    assert pair.put(100, 250, video=None) == 0
    assert pair.put(250, 300) == 0
    assert pair.reported() == []
    assert pair.fragments()[-5:] == [({1, 2}, {1, 2})] * 5
    assert pair.stream.account().skipped == 0


def test_a_picture_that_comes_back_when_the_fragment_is_full(desk: Desks) -> None:
    """A track with a frame is not marked silent, and each session has its first track."""
    pair = Unordered(desk)
    pair.put(0, 100)
    pair.put(100, 589, video=None)
    pair.put(589, 595, audio=None)  # 20 s after the key frame
    pair.put(595, 700)
    for tracks, found in pair.fragments():
        assert found <= tracks
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})


def test_pictures_that_never_come(desk: Desks) -> None:
    """Sound is skipped until the pictures count as silent."""
    pair = Unordered(desk)
    pair.put(0, 300, video=None)
    assert pair.reported() == [("TrackSilent", 1)]
    assert {tuple(tracks) for tracks, _ in pair.fragments()} == {(2,)}
    assert pair.stream.account().skipped == 126


def test_a_pause_that_leaves_each_fragment_complete(desk: Desks) -> None:
    """In fragments of 10 s, each has sound, followed by 4 s without it."""
    pair = Unordered(desk)
    for index in range(1000):
        key = index % 250 == 0
        pair.stream.put_frame(kvs.Frame(b"x", NOW + index * 40 * MS, key_frame=key), pair.d.now)
        if index % 250 < 150:
            frame = kvs.Frame(b"x", NOW + index * 40 * MS, track_id=2)
            pair.stream.put_frame(frame, pair.d.now)
    pair.d.settle()
    assert pair.reported() == []
    assert pair.refused_fragments == []


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
def test_a_jump_makes_no_track_silent(desk: Desks, off: float) -> None:
    """Frames before the jump do not count after it."""
    pair = Unordered(desk)
    pair.put(0, 100)
    pair.put(100, 300, video=off, audio=off)
    assert pair.reported() == []
    pair.put(300, 500, video=off, audio=None)
    assert pair.reported() == [("TrackSilent", 2)]


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
def test_a_jump_of_sound_while_the_pictures_are_silent(desk: Desks, off: float) -> None:
    """Sound continues alone after 5 s, and the pictures come back at its time.

    Until then it is refused if it jumped back, and held if it jumped ahead.
    """
    pair = Unordered(desk)
    pair.put(0, 100)
    pair.put(100, 110, video=None)
    refused = pair.put(110, 360, video=None, audio=off)
    assert refused == 0 if off > 0 else 120 <= refused <= 130
    assert pair.reported() == [("TrackSilent", 1)]
    assert pair.put(360, 500, video=off, audio=off) <= 4
    assert pair.reported() == [("TrackSilent", 1), ("TrackResumed", 1)]
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})


def test_a_reset_stream_has_all_its_tracks_again(desk: Desks) -> None:
    """A stream with a single track never marks it silent."""
    pair = Unordered(desk)
    pair.put(0, 300, audio=None)
    pair.stream.reset(pair.d.now)
    pair.d.settle()
    pair.put(300, 340)
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})
    d = desk()
    for index in range(200):
        d.put(index)
    assert d.reported(kvs.TrackSilent) == []


def refuse(pair: Unordered, second: int) -> None:
    """Send the fragments, and let the service refuse the one at that second for a missing track."""
    pair.d.stream = pair.stream
    pair.d.read()
    pair.d.ack("ERROR", second, error=4011)


def read_newest(pair: Unordered) -> tuple[set[int], list[int]]:
    """Return what the newest upload gets: the declared tracks, and the numbers of the frames."""
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


def put_slowly(pair: Unordered, first: int, last: int, *, audio: bool) -> None:
    """Put pictures 200 ms apart, a key frame each second, with sound if `audio` is set."""
    for index in range(first, last):
        for track in (1, 2) if audio else (1,):
            pts = NOW + index * 200 * MS
            frame = kvs.Frame(
                b"%d" % index, pts, key_frame=track == 1 and index % 5 == 0, track_id=track
            )
            pair.stream.put_frame(frame, pair.d.now)
            pair.d.settle()


def test_a_refused_fragment_is_sent_again_without_the_track(desk: Desks) -> None:
    """The service refuses it before 5 s have passed, and nothing is lost."""
    pair = Unordered(desk)
    put_slowly(pair, 0, 12, audio=False)
    refuse(pair, 0)
    assert pair.reported() == [("TrackSilent", 2)]
    assert read_newest(pair) == ({1}, list(range(12)))
    put_slowly(pair, 12, 50, audio=False)
    rest = pair.d.read()[0]
    assert b"49" in rest
    assert b"\x1a\x45\xdf\xa3" not in rest, "the session goes on"
    assert pair.stream.account() == (50, 0, 0, 0, 50)
    assert pair.d.reported(kvs.StreamErrorReported)[0].status is StatusCode(0x5200007D)


def test_sound_that_comes_back_after_a_refused_fragment(desk: Desks) -> None:
    """It is in the session that the next key frame begins."""
    pair = Unordered(desk)
    put_slowly(pair, 0, 12, audio=False)
    refuse(pair, 0)
    put_slowly(pair, 12, 20, audio=True)
    assert pair.reported() == [("TrackSilent", 2), ("TrackResumed", 2)]
    assert pair.stream.account().skipped == 3
    assert read_newest(pair) == ({1}, list(range(15)))
    pair.d.ack("PERSISTED", 0)
    pair.d.ack("PERSISTED", 1)
    pair.d.ack("PERSISTED", 2)
    pair.d.read()
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})


def test_fragments_before_the_refused_one_keep_their_tracks(desk: Desks) -> None:
    """They were sent but not stored, and are sent again in their own session."""
    pair = Unordered(desk, replay_duration=20)
    put_slowly(pair, 0, 10, audio=True)
    put_slowly(pair, 10, 22, audio=False)
    refuse(pair, 2)
    assert pair.reported() == [("TrackSilent", 2)]
    both = [index for index in range(10) for _ in range(2)]
    assert read_newest(pair) == ({1, 2}, both)
    pair.d.ack("PERSISTED", 0)
    pair.d.ack("PERSISTED", 1)
    pair.d.read()
    pair.stream.put_frame(kvs.Frame(b"22", NOW + 22 * 200 * MS), pair.d.now)
    pair.d.settle()
    assert read_newest(pair) == ({1}, list(range(10, 23)))
    assert pair.stream.account().dropped == 0


def test_fragments_of_an_older_session_are_sent_again_too(desk: Desks) -> None:
    """The track was marked silent while the service could not be reached."""
    pair = Unordered(desk)
    put_slowly(pair, 0, 50, audio=False)
    assert pair.reported() == [("TrackSilent", 2)]
    refuse(pair, 0)
    tracks, frames = read_newest(pair)
    assert tracks == {1}
    assert frames == list(range(frames[-1] + 1))
    assert pair.stream.account().dropped == 0


def test_a_fragment_is_lost_if_its_session_has_the_missing_track(desk: Desks) -> None:
    """The session cannot be declared again without that track."""
    pair = Unordered(desk)
    put_slowly(pair, 0, 5, audio=False)
    put_slowly(pair, 5, 15, audio=True)
    refuse(pair, 0)
    assert pair.reported() == []
    assert pair.stream.account().dropped == 5
    assert read_newest(pair)[0] == {1, 2}


def test_a_second_refusal_drops_the_fragment(desk: Desks) -> None:
    """A fragment is declared again only once."""
    pair = Unordered(desk)
    put_slowly(pair, 0, 12, audio=False)
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
    assert pair.reported() == []
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
    assert pair.reported() == [("TrackSilent", 2)]
    assert pair.fragments()[-1] == ({1}, {1})
    assert pair.put(300, 400) == 0
    assert pair.reported() == [("TrackSilent", 2), ("TrackResumed", 2)]
    assert pair.fragments()[-1] == ({1, 2}, {1, 2})
    assert pair.stream.account() == (600, 0, 0, 0, 600)


def test_fragment_refused_while_its_first_frame_is_sent(desk: Desks) -> None:
    """It is sent again from its start, with one stream header, which lacks the track."""
    pair = Unordered(desk)
    put_slowly(pair, 0, 7, audio=False)
    pair.d.stream = pair.stream
    pair.d.read(limit=50)
    pair.d.ack("ERROR", 0, error=4011)
    assert pair.reported() == [("TrackSilent", 2)]
    data = pair.d.read()[0]
    assert data.count(b"\x1a\x45\xdf\xa3") == 1
    assert declared(data) == {1}
    assert pair.stream.account() == (7, 0, 0, 0, 7)
    assert pair.stream.charged_bytes == pair.d.client.store.used_bytes
