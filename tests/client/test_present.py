"""A stream continues without a track that has no frames, and uses it again later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.buffer.view import FRAGMENT_START, STREAM_START
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv import events as mkv
from kvsproducer.status import KvsError

NOW = 17_000_000_000_000_000
MS = 10_000
SECOND = 10_000_000
Desks = Callable[..., Any]


class Pair:
    """A stream with 25 pictures a second, a key frame every ten, and sound 5 ms after each."""

    def __init__(self, desk: Desks, **more: Any) -> None:
        self.d = desk()
        info = kvs.StreamInfo.audio_video("h264", "alaw", name="both", nal_adaptation=0, **more)
        self.stream = self.d.client.open_stream(info, self.d.now)
        self.d.settle()

    def put(
        self, first: int, last: int, *, video: float | None = 0, audio: float | None = 0
    ) -> int:
        """Put the frames with these numbers, each track shifted by seconds, or left out if None.

        Return the number of refused frames.
        """
        refused = 0
        for index in range(first, last):
            for track, off in ((1, video), (2, audio)):
                if off is None:
                    continue
                pts = NOW + index * 40 * MS + (track - 1) * 5 * MS + int(off * SECOND)
                key = index % 10 == 0 and track == 1
                frame = kvs.Frame(b"%d" % index, pts, key_frame=key, track_id=track)
                try:
                    self.stream.put_frame(frame, self.d.now)
                except KvsError:
                    refused += 1
                self.d.settle()
        return refused

    def sessions(self) -> list[tuple[set[int], set[int], int]]:
        """Return for each session its declared tracks, its tracks, and its number of fragments.

        Each fragment must have a frame of each declared track.
        """
        found: list[tuple[set[int], set[int], int]] = []
        fragments: list[set[int]] = []
        for _, item in sorted(self.stream._core.buffer.view.items.items()):
            if item.flags & STREAM_START:
                found.append((declared(item.header), set(), 0))
            if item.flags & FRAGMENT_START:
                fragments.append(set())
                found[-1] = (*found[-1][:2], found[-1][2] + 1)
                expected = found[-1][0]
            track = item.header[-4] & 0x7F
            fragments[-1].add(track)
            found[-1][1].add(track)
            assert track in expected
        return found

    def reported(self) -> list[tuple[str, int]]:
        return [
            (type(event).__name__, event.track_id)
            for event in self.d.events
            if isinstance(event, kvs.TrackSilent | kvs.TrackResumed)
        ]


def declared(header: bytes) -> set[int]:
    parser = MkvParser()
    parser.receive_data(header)
    while (event := parser.next_event()) is not None:
        if isinstance(event, mkv.Tracks):
            return {entry.number for entry in event.entries}
    return set()


@pytest.mark.parametrize("silent", [1, 2])
def test_the_other_track_continues_alone(desk: Desks, silent: int) -> None:
    """It does so after 5 s of media, in its own session; no frame is refused or lost."""
    pair = Pair(desk)
    pair.put(0, 100)
    off = {"video" if silent == 1 else "audio": None}
    assert pair.put(100, 220, **off) == 0
    assert pair.reported() == []
    assert pair.put(220, 400, **off) == 0
    assert pair.reported() == [("TrackSilent", silent)]
    other = 3 - silent
    sessions = pair.sessions()
    assert [tracks for tracks, *_ in sessions] == [{1, 2}, {other}]
    assert sessions[1][1] == {other}
    assert sessions[1][2] > 4, "fragments of a few seconds at most"
    assert pair.stream.account().accepted == 500
    assert pair.stream.account().dropped == 0


@pytest.mark.parametrize("silent", [1, 2])
def test_a_track_that_comes_back_is_declared_again(desk: Desks, silent: int) -> None:
    """The next key frame begins its session; until then its frames are skipped."""
    pair = Pair(desk)
    pair.put(0, 100)
    off = {"video" if silent == 1 else "audio": None}
    pair.put(100, 303, **off)
    assert pair.put(303, 400) == 0
    assert pair.reported() == [("TrackSilent", silent), ("TrackResumed", silent)]
    assert [tracks for tracks, *_ in pair.sessions()] == [{1, 2}, {3 - silent}, {1, 2}]
    assert pair.stream.account().skipped == 7
    assert pair.stream.account().dropped == 0


def test_the_first_session_begins_without_a_track_that_has_no_frames(desk: Desks) -> None:
    """No frame of the other track is lost."""
    pair = Pair(desk)
    pair.put(0, 200, audio=None)
    assert pair.reported() == [("TrackSilent", 2)]
    assert pair.d.reported(kvs.TrackSilent)[0].last is None
    assert [tracks for tracks, *_ in pair.sessions()] == [{1}]
    assert pair.stream.account() == (200, 0, 0, 0, 200)


def test_a_short_pause_does_not_make_a_track_silent(desk: Desks) -> None:
    """Sound that pauses for 4 s continues at the time of the pictures."""
    pair = Pair(desk)
    pair.put(0, 100)
    pair.put(100, 200, audio=None)
    assert pair.put(200, 300) == 0
    assert pair.reported() == []
    assert len(pair.sessions()) == 1


def test_waiting_frames_are_bounded_in_bytes(desk: Desks) -> None:
    """At a quarter of the storage, the track counts as silent before its time."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    pair = Pair(lambda: desk(device))
    stream = pair.stream
    for index in range(20):
        frame = kvs.Frame(bytes(30_000), NOW + index * 40 * MS, key_frame=index % 10 == 0)
        stream.put_frame(frame, pair.d.now)
    pair.d.settle()
    assert pair.reported() == [("TrackSilent", 2)]


def test_offline_streams_wait_longer_for_a_track(desk: Desks) -> None:
    """Files are put fast, and their tracks may be far apart."""
    pair = Pair(desk, streaming_type=kvs.StreamingType.OFFLINE)
    pair.put(0, 20)
    pair.put(20, 400, audio=None)
    assert pair.reported() == []
    pair.put(400, 550, audio=None)
    assert pair.reported() == [("TrackSilent", 2)]


@pytest.mark.parametrize("alone", [1, 11, 25, 50, 80])
@pytest.mark.parametrize("sound", [100, 99, 96, 10])
def test_the_last_fragment_does_not_lack_a_track(desk: Desks, sound: int, alone: int) -> None:
    """The service would refuse it, however short it is."""
    pair = Pair(desk)
    pair.put(0, sound)
    pair.put(sound, 100 + alone, audio=None)
    pair.stream.stop(pair.d.now)
    pair.d.settle()
    assert pair.stream.account().held == 100 + alone + sound
    last_key = (99 + alone) // 10 * 10
    expected = [{1, 2}, {1}] if last_key >= sound else [{1, 2}]
    assert [tracks for tracks, *_ in pair.sessions()] == expected
    assert pair.reported() == [("TrackSilent", 2)][: len(expected) - 1]
    for declared, has, _ in pair.sessions():
        assert has == declared


@pytest.mark.parametrize("pictures", [1, 2, 100, 101, 102, 110])
def test_last_picture_is_stored_with_the_sound_of_its_time(desk: Desks, pictures: int) -> None:
    """After that, the remaining sound begins its own session."""
    pair = Pair(desk)
    pair.put(0, pictures)
    pair.put(pictures, 400, video=None)
    assert pair.reported() == [("TrackSilent", 1)]
    first, second = pair.sessions()
    assert first[:2] == ({1, 2}, {1, 2})
    assert second[:2] == ({2}, {2})
    fragments: list[set[int]] = []
    for _, item in sorted(pair.stream._core.buffer.view.items.items()):
        if item.flags & FRAGMENT_START:
            fragments.append(set())
        fragments[-1].add(item.header[-4] & 0x7F)
    assert fragments[: first[2]] == [{1, 2}] * first[2]
    assert pair.stream.account().held == pictures + 400


def test_a_reset_stream_has_all_its_tracks_again(desk: Desks) -> None:
    """Silent tracks from before the reset do not matter."""
    pair = Pair(desk)
    pair.put(0, 300, audio=None)
    pair.stream.reset(pair.d.now)
    pair.d.settle()
    pair.put(300, 340)
    assert [tracks for tracks, *_ in pair.sessions()] == [{1, 2}]


@pytest.mark.parametrize("off", [-30.0, -7200.0, 7200.0])
@pytest.mark.parametrize("at", [200, 203])
def test_a_jump_of_both_tracks(desk: Desks, off: float, at: int) -> None:
    """Sound follows the pictures; a jump back begins a session, in the order of the puts."""
    pair = Pair(desk)
    pair.put(0, at)
    refused = pair.put(at, 400, video=off, audio=off)
    assert refused <= 4
    assert pair.reported() == []
    assert len(pair.d.reported(kvs.TimeJumped)) == 1
    account = pair.stream.account()
    lost = 0 if at % 10 == 0 else 2 * 27  # the rest of the group, and the sound during it
    assert account.accepted >= 800 - refused - lost
    pair.sessions()


@pytest.mark.parametrize("off", [37600.0, -37600.0])
def test_far_off_sound_does_not_affect_pictures(desk: Desks, off: float) -> None:
    """It neither delays the pictures nor moves their time."""
    pair = Pair(desk)
    pair.put(0, 100)
    for start in range(100, 300, 50):
        pair.put(start, start + 1, audio=off)
        pair.put(start + 1, start + 50)
    assert pair.stream.account().accepted >= 596
    assert pair.reported() == []
    assert len(pair.sessions()) == 1


def test_sound_that_moves_away_from_the_pictures_is_refused_alone(desk: Desks) -> None:
    """It is near the pictures, but the sound before it was nearer, so no picture follows it."""
    pair = Pair(desk, frame_order_mode=kvs.FrameOrderMode.MULTI_TRACK_NO_COMPARISON)
    pair.put(0, 104)
    refused = pair.put(104, 105, audio=-3.4)
    pair.put(105, 150)
    assert refused == 1
    assert pair.reported() == []
    assert pair.d.reported(kvs.FrameDropped) == []


class Slow(Pair):
    """Pictures and sound with other steps than 40 ms."""

    def put_at(self, track: int, ms: int, *, key: bool = False) -> bool:
        """Put a frame; return whether it was accepted."""
        frame = kvs.Frame(b"%d" % ms, NOW + ms * MS, key_frame=key, track_id=track)
        try:
            self.stream.put_frame(frame, self.d.now)
        except KvsError:
            return False
        self.d.settle()
        return True

    def stored(self, track: int) -> list[tuple[int, int]]:
        """Return for each stored frame of a track the time of its put and its stored time, ms."""
        return [
            (int(b"".join(item.payload)), item.timestamp)
            for _, item in sorted(self.stream._core.buffer.view.items.items())
            if item.header[-4] & 0x7F == track
        ]


def test_long_sound_packets_have_a_usual_step(desk: Desks) -> None:
    """Packets 0.7 s apart are accepted, even around a single picture that is far off."""
    pair = Slow(desk, frame_order_mode=kvs.FrameOrderMode.MULTI_TRACK_NO_COMPARISON)
    accepted = True
    for index in range(60):
        far = 3_600_000 if index == 21 else 0
        accepted &= pair.put_at(1, index * 350 + far, key=index % 10 == 0)
        if index % 2:
            accepted &= pair.put_at(2, index * 350 + 5)
    assert accepted
    assert pair.stream._intake.timeline.usual(2) == 700 * MS
    assert [event.track_id for event in pair.d.reported(kvs.TimestampCorrected)] == [1]
    assert pair.reported() == []


def test_held_sound_follows_the_pictures(desk: Desks) -> None:
    """It came back when a single picture was far off, and is not refused after that."""
    pair = Pair(desk)
    pair.put(0, 100)
    pair.put(100, 130, audio=None)
    pair.put(130, 131, video=3600, audio=0)
    assert pair.put(131, 200) == 0
    assert pair.stream.account().accepted == 370
    assert [event.track_id for event in pair.d.reported(kvs.TimestampCorrected)] == [1]
    assert len(pair.sessions()) == 1


def test_slow_pictures_that_come_back_are_accepted(desk: Desks) -> None:
    """They pause for ten steps, and continue at the time of the sound or one packet later."""
    pair = Slow(desk)
    for index in range(60):
        if not 20 <= index < 30:
            assert pair.put_at(1, index * 900, key=index % 10 == 0)
        if index % 3 != 1:
            assert pair.put_at(2, index // 3 * 2700 + index % 3 * 675)
    assert pair.reported() == [("TrackSilent", 1), ("TrackResumed", 1)]


@pytest.mark.parametrize("off", [3600, -3600])
@pytest.mark.parametrize("back", [0, 3600])
def test_a_jump_of_sound_while_the_pictures_are_silent(desk: Desks, off: int, back: int) -> None:
    """Sound is refused or held until the pictures count as silent; then it drives the time.

    The pictures may come back at that time or at yet another one.
    """
    pair = Pair(desk)
    pair.put(0, 100)
    pair.put(100, 110, video=None)
    refused = pair.put(110, 360, video=None, audio=off)
    assert refused == 0 if off > 0 else 0 < refused <= 130
    assert pair.reported() == [("TrackSilent", 1)]
    assert pair.put(360, 500, video=off + back, audio=off + back) <= 4
    assert pair.reported() == [("TrackSilent", 1), ("TrackResumed", 1)]
    pair.stream.stop(pair.d.now)
    pair.d.settle()
    tracks = [found for _, found, _ in pair.sessions()]
    assert {2} in tracks
    assert tracks[-1] == {1, 2}


@pytest.mark.parametrize("streaming_type", ["REALTIME", "OFFLINE"])
@pytest.mark.parametrize("again", [-7200, 7200])
def test_two_jumps_while_the_pictures_are_silent(
    desk: Desks, again: int, streaming_type: str
) -> None:
    """Three or more packets in a row are not outliers, so they keep their times."""
    pair = Pair(desk, streaming_type=kvs.StreamingType[streaming_type])
    pair.put(0, 100)
    pair.put(100, 110, video=None)
    assert pair.put(110, 150, video=None, audio=3600) == 0
    assert pair.put(150, 160, video=None, audio=3600 + again) <= 2
    assert pair.put(160, 300, video=3600 + again, audio=3600 + again) <= 8
    pair.stream.stop(pair.d.now)
    pair.d.settle()
    assert pair.d.reported(kvs.TimestampCorrected) == []
    jump = pair.d.reported(kvs.TimeJumped)[0]
    assert jump.after == NOW + 110 * 40 * MS + 5 * MS + 3600 * SECOND
    assert pair.d.reported(kvs.FrameDropped) == []


def test_offline_sound_is_held_until_the_pictures_count_as_silent(desk: Desks) -> None:
    """An offline stream waits 20 s for pictures; until then no packet is moved or refused."""
    pair = Pair(desk, streaming_type=kvs.StreamingType.OFFLINE)
    pair.put(0, 100)
    pair.put(100, 110, video=None)
    assert pair.put(110, 500, video=None, audio=3600) == 0
    pair.put(500, 510, video=3600, audio=3600)
    assert pair.d.reported(kvs.TimestampCorrected) == []
    assert pair.reported() == []


def test_sound_that_follows_the_pictures_keeps_its_usual_step(desk: Desks) -> None:
    """Packets of 2.2 s follow the pictures, one by one, and must not make the step 0."""
    pair = Pair(desk)
    for first in range(0, 550, 55):
        pair.put(first, first + 1)
        pair.put(first + 1, first + 55, audio=None)
    assert pair.stream._intake.timeline.usual(2) != 0


def test_a_picture_held_before_a_pause_had_jumped(desk: Desks) -> None:
    """It was the first one at a new time when the pictures stopped for 8 s."""
    pair = Pair(desk)
    pair.put(0, 100)
    pair.put(100, 101, video=3600, audio=3600)
    pair.put(101, 310, video=None, audio=3600)
    pair.put(310, 320, video=3600, audio=3600)
    assert pair.d.reported(kvs.TimestampCorrected) == []


def test_without_comparison_a_held_frame_keeps_its_place(desk: Desks) -> None:
    """The order of the puts counts, even for sound beside a held picture."""
    pair = Pair(desk, frame_order_mode=kvs.FrameOrderMode.MULTI_TRACK_NO_COMPARISON)
    pair.put(0, 50)
    pair.put(50, 51, video=3600)
    pair.put(51, 100)
    items = [item for _, item in sorted(pair.stream._core.buffer.view.items.items())]
    order = [(int(b"".join(item.payload)), item.header[-4] & 0x7F) for item in items]
    assert order == [(index, track) for index in range(100) for track in (1, 2)][: len(order)]
    assert len(order) > 198 - 4


def test_flags_show_where_fragments_begin(desk: Desks) -> None:
    """Each sound packet has a key flag, but begins fragments only without pictures."""
    pair = Pair(desk)
    pair.put(0, 100)
    tracks = pair.stream._intake._tracks
    sound = kvs.Frame(b"x", NOW + 5 * SECOND, key_frame=True, track_id=2)
    picture = kvs.Frame(b"x", NOW + 5 * SECOND, key_frame=True)
    assert not tracks.flags(sound, ended=False) & 1
    assert tracks.flags(picture, ended=False) & 1
    pair.put(100, 300, video=None)
    assert tracks.sound_only
    assert tracks.flags(sound, ended=True) & 1


@pytest.mark.parametrize(
    ("mode", "lead"),
    [(0, 0), (1, 0), (1, 300), (2, 0), (2, 300), (2, -300), (4, 0), (4, 300), (4, -300)],
)
@pytest.mark.parametrize("pause", [0.6, 3, 18])
def test_a_pause_of_both_tracks_in_a_recording_loses_nothing(
    desk: Desks, pause: float, lead: int, mode: int
) -> None:
    """Frames are put without pauses; the sound is put `lead` ms before the pictures of its time."""
    pair = Pair(
        desk,
        frame_order_mode=kvs.FrameOrderMode(mode),
        streaming_type=kvs.StreamingType.OFFLINE,
        buffer_duration=60,
    )
    frames = []
    for index in range(600):
        track = 1 if index < 200 else 2
        ms = index * 40 if track == 1 else (index - 200) * 20
        ms += int(pause * 1000) if ms >= 4000 else 0
        frames.append((ms - lead * (track == 2), ms, track, track == 1 and index % 25 == 0))
    lost = 0
    for _, ms, track, key in sorted(frames):
        pts = NOW + ms * MS + (track - 1) * 5 * MS
        try:
            frame = kvs.Frame(b"%d" % ms, pts, key_frame=key, track_id=track)
            pair.stream.put_frame(frame, pair.d.now)
        except KvsError:
            lost += 1
        pair.d.settle()
    pair.stream.stop(pair.d.now)
    pair.d.settle()
    early = sum(ms < lead for _, ms, track, _ in frames if track == 2)
    assert lost <= early, "sound before the first picture"
    account = pair.stream.account()
    assert account.dropped == 0
    assert account.held + account.skipped + lost == 600
    assert account.skipped + lost <= early
    assert not [event for event in pair.d.reported(kvs.TimestampCorrected)]


def test_sound_that_stays_ahead_is_held_for_5_s_and_then_refused(desk: Desks) -> None:
    """Only the clock of the sound was set. It is held in case the pictures follow.

    After 5 s the pictures continue without sound, and the held sound is skipped.
    """
    pair = Pair(desk)
    pair.put(0, 100)
    refused = pair.put(100, 400, audio=3600)
    assert 170 <= refused <= 180
    moved = pair.d.reported(kvs.TimestampCorrected)
    assert len(moved) == 300 - refused
    assert all(NOW < event.used < NOW + 16 * SECOND for event in moved)
    account = pair.stream.account()
    assert account.held == account.accepted == 500
    assert account.skipped == 300 - refused
    assert pair.reported()[0] == ("TrackSilent", 2)


def test_refused_fragment_of_ordered_tracks_is_lost(desk: Desks) -> None:
    """The order coordinator gives each fragment all declared tracks, so no header is wrong."""
    pair = Pair(desk)
    pair.put(0, 25)
    pair.d.stream = pair.stream
    pair.d.read()
    pair.d.ack("ERROR", 0, error=4011)
    assert pair.reported() == []
    assert pair.stream.account().dropped == 20
    assert {event.reason for event in pair.d.reported(kvs.FrameDropped)} == {kvs.DropReason.REFUSED}
