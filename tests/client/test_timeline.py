"""Timestamps that jump, and single frames that are far off."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.buffer.view import (
    END_OF_FRAGMENT,
    FRAGMENT_START,
    STREAM_START,
    ContentView,
    ViewItem,
)
from kvsproducer.client.timeline import Timeline, Verdict, usual_step
from kvsproducer.status import KvsError, StatusCode

NOW = 17_000_000_000_000_000
MS = 10_000
SECOND = 10_000_000
GOP = 10
REFUSALS = (StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP, StatusCode.MKV_INVALID_FRAME_TIMESTAMP)
Desks = Callable[..., Any]


class Film:
    """A camera with 25 pictures a second and a key frame every ten; `off` shifts its clock."""

    def __init__(self, d: Any, *, clock: bool = True) -> None:
        self.d = d
        self.clock = clock  # whether time passes between the frames
        self.refused: list[int] = []

    def put(self, first: int, last: int, off: float = 0.0, *, key: bool | None = None) -> None:
        d = self.d
        for index in range(first, last):
            is_key = index % GOP == 0 if key is None else key
            pts = NOW + index * 40 * MS + int(off * SECOND)
            if self.clock:
                d.now = NOW + index * 40 * MS
            try:
                d.stream.put_frame(kvs.Frame(str(index).encode(), pts, key_frame=is_key), d.now)
            except KvsError as error:
                if error.status not in REFUSALS:
                    raise
                self.refused.append(index)
            d.settle()

    def held(self) -> list[list[tuple[int, float]]]:
        """Return per session the number of each picture, and the error of its time in seconds."""
        sessions: list[list[tuple[int, float]]] = []
        for _, item in sorted(self.d.stream._core.buffer.view.items.items()):
            if item.flags & STREAM_START:
                sessions.append([])
            if not item.flags & END_OF_FRAGMENT:
                number = int(b"".join(item.payload))
                off = (item.ack_timestamp - NOW - number * 40 * MS) / SECOND
                sessions[-1].append((number, off))
        return sessions

    @property
    def pictures(self) -> list[tuple[int, float]]:
        """The pictures of all sessions, as `held` returns them."""
        return list(chain.from_iterable(self.held()))


@pytest.fixture
def film(desk: Desks) -> Film:
    return Film(desk(name="door"))


def jumps(d: Any) -> list[float]:
    """Return by how many seconds the time has jumped, according to the events."""
    return [
        round((event.after - event.before) / SECOND, 2)
        for event in d.events
        if isinstance(event, kvs.TimeJumped)
    ]


@pytest.mark.parametrize("off", [-30.0, -7200.0, -3.0, 7200.0, 80_000.0, 5.0])
def test_a_clock_that_is_set_at_a_key_frame_loses_no_frame(film: Film, off: float) -> None:
    """All pictures keep their times; after a jump back they are in a new session."""
    film.put(0, 100)
    film.put(100, 200, off)
    assert film.refused == []
    assert film.d.stream.account() == (200, 0, 0, 0, 200)
    assert jumps(film.d) == [round(off + 0.04, 2)]
    assert len(film.held()) == (2 if off < 0 else 1)
    assert [n for n, _ in film.pictures] == list(range(200))
    assert {off for n, off in film.pictures if n < 100} == {0}
    assert {off for n, off in film.pictures if n >= 100} == {off}


@pytest.mark.parametrize("off", [-30.0, 7200.0])
def test_a_clock_that_is_set_within_a_group_loses_the_rest_of_the_group(
    film: Film, off: float
) -> None:
    """A session, or a fragment so far away, must begin with a key frame."""
    film.put(0, 103)
    film.put(103, 200, off)
    assert film.refused == ([103, 104] if off < 0 else [])
    account = film.d.stream.account()
    assert account == (193, 0, 0, 7 - len(film.refused), 193)
    assert jumps(film.d) == [round(off + (0.12 if off < 0 else 0.04), 2)]
    assert [n for n, _ in film.pictures] == [*range(103), *range(110, 200)]


@pytest.mark.parametrize("index", [40, 45, 39])
@pytest.mark.parametrize("off", [37600.0, 3.0, -37600.0, -5.0])
@pytest.mark.parametrize("count", [1, 2])
def test_outliers_do_not_move_the_time(film: Film, index: int, off: float, count: int) -> None:
    """One or two frames are far off, possibly key frames; at most they are refused themselves."""
    film.put(0, index)
    film.put(index, index + count, off)
    film.put(index + count, 100)
    strays = range(index, index + count)
    # A frame that jumped back is held only if a session could begin with it.
    lost = {39: [39], 40: [], 45: list(strays)}[index] if off < 0 else []
    assert film.refused == lost
    assert film.d.stream.account().accepted == 100 - len(lost)
    assert jumps(film.d) == []
    (pictures,) = film.held()
    assert [n for n, _ in pictures] == [n for n in range(100) if n not in lost]
    assert all(abs(off) < 0.1 for _, off in pictures), "they are stored between their neighbours"
    corrected = [e for e in film.d.events if isinstance(e, kvs.TimestampCorrected)]
    assert len(corrected) == count - len(lost)
    assert all(abs(e.given - e.used) > SECOND for e in corrected)


def test_an_outlier_as_the_first_frame(film: Film) -> None:
    """The three frames after it set the stream's time."""
    film.put(0, 1, 37600.0)
    film.put(1, 50)
    assert film.refused == [1, 2]
    assert [n for n, _ in film.pictures] == [0, *range(10, 50)]


def test_small_steps_back_are_refused_alone(film: Film) -> None:
    """They come from a disordered encoder or network, and do not set a new time."""
    film.put(0, 45)
    film.put(40, 44, key=False)
    film.put(45, 60)
    assert film.refused == [40, 41, 42, 43]
    assert jumps(film.d) == []
    assert len(film.held()) == 1


@pytest.mark.parametrize("pause", [0.4, 5.0, 90.0])
def test_a_pause_of_the_source_is_not_a_jump(film: Film, pause: float) -> None:
    """Its clock and ours have advanced alike, so each frame is stored at once."""
    film.put(0, 40)
    film.d.now += int(pause * SECOND)
    film.clock = False
    before = film.d.stream.account().accepted
    film.put(40, 41, pause)
    assert len(film.d.stream._intake.timeline) == 0
    assert film.d.stream.account().accepted == before + 1
    assert jumps(film.d) == []


@pytest.mark.parametrize("end", ["stop", "mark", "flush", "idle"])
@pytest.mark.parametrize("off", [60.0, -60.0])
def test_held_frames_are_stored_at_the_end(desk: Desks, end: str, off: float) -> None:
    """No later frame will decide on them, so they keep their times."""
    film = Film(desk(kvs.DeviceInfo()))
    film.put(0, 40)
    film.put(40, 42, off)
    assert film.d.stream.waiting == 2
    if end == "mark":
        film.d.stream.put_frame(kvs.Frame.end_of_fragment(), film.d.now)
    elif end == "flush":
        film.d.stream.end_fragment(film.d.now)
    elif end == "idle":
        for _ in range(5):
            film.d.now += 10 * SECOND
            film.d.client.handle_timer(film.d.now)
    assert film.d.stream.waiting == (2 if end == "stop" else 0)
    film.d.stream.stop(film.d.now)
    assert film.pictures == [*((n, 0) for n in range(40)), (40, off), (41, off)]


@pytest.mark.parametrize("held", [1, 2])
def test_frames_held_after_an_ended_fragment_are_stored(desk: Desks, held: int) -> None:
    """An idle stream stores them even if no fragment is open."""
    film = Film(desk(kvs.DeviceInfo()))
    film.put(0, 40)
    film.d.stream.end_fragment(film.d.now)
    film.put(40, 40 + held, 60.0)
    assert film.d.stream.waiting == held
    for _ in range(5):
        film.d.now += 10 * SECOND
        film.d.client.handle_timer(film.d.now)
    assert film.d.stream.waiting == 0
    assert film.pictures == [*((n, 0) for n in range(40)), *((40 + n, 60.0) for n in range(held))]


def test_a_stream_with_a_held_frame_is_not_idle(desk: Desks) -> None:
    """In a time lapse of 15 s no frame is stored for 23 s, and the idle limit is 20 s."""
    d = desk(kvs.DeviceInfo())
    for index in range(28):
        d.now = NOW + index * 15 * SECOND
        off = 167 * SECOND if index == 20 else 0
        d.stream.put_frame(kvs.Frame(b"%d" % index, d.now + off, key_frame=True), d.now)
        d.settle()
        while (due := d.client.next_timer()) is not None and due < d.now + 15 * SECOND:
            d.client.handle_timer(due)
    assert d.reported(kvs.TimeJumped) == []
    assert [event.given for event in d.reported(kvs.TimestampCorrected)] == [NOW + 467 * SECOND]


@pytest.mark.parametrize("off", [3600.0, -3600.0])
def test_an_outlier_just_after_a_jump(desk: Desks, off: float) -> None:
    """The jump does not count as a usual step, so the limit for far frames does not grow."""
    film = Film(desk(), clock=False)
    film.put(0, 45)
    film.put(45, 51, off)
    film.put(51, 52, off + 600)
    film.put(52, 70, off)
    assert [number for number, _ in film.pictures] == [*range(45), *range(50, 70)]
    assert len(film.d.reported(kvs.TimestampCorrected)) == len(jumps(film.d)) == 1


def test_a_pause_after_a_flush_is_not_a_jump(film: Film) -> None:
    """The clock shows the same pause, so no frame is held."""
    film.put(0, 40)
    film.d.stream.end_fragment(film.d.now)
    film.put(500, 503)
    assert film.d.stream.waiting == 0
    assert jumps(film.d) == []
    assert film.pictures == [*((n, 0) for n in range(40)), (500, 0), (501, 0), (502, 0)]


@pytest.mark.parametrize("off", [3600.0, -3600.0, 60.0])
def test_a_skipped_frame_that_is_far_off_does_not_move_the_time(film: Film, off: float) -> None:
    """It is not stored; the key frame after it continues at the old time."""
    film.put(0, 40)
    film.d.stream.end_fragment(film.d.now)
    film.put(41, 49)
    film.put(49, 50, off)
    film.put(50, 60)
    assert film.d.stream.waiting == 0
    assert jumps(film.d) == film.refused == []
    assert film.pictures == [(n, 0) for n in (*range(40), *range(50, 60))]


def test_a_frame_that_waits_for_space_counts_once(desk: Desks) -> None:
    """It is a single frame that is far off, however often its writer tries."""
    film = Film(desk(streaming_type=kvs.StreamingType.OFFLINE), clock=False)
    film.put(0, 40)
    store = film.d.client.store
    used = store.size_bytes - store.used_bytes
    store.charge(used)
    for _ in range(5):
        with pytest.raises(kvs.WouldBlock):
            film.put(40, 41, 60.0)
    store.release(used)
    film.put(40, 41, 60.0)
    film.put(41, 50)
    assert jumps(film.d) == []
    assert [number for number, _ in film.pictures] == list(range(50))
    assert film.pictures[41:] == [(number, 0) for number in range(41, 50)]
    assert abs(film.pictures[40][1]) < 0.05


def test_held_frames_are_dropped_by_a_reset(film: Film) -> None:
    """They were accepted, so they are reported as dropped."""
    film.put(0, 40)
    film.put(40, 42, 60.0)
    film.d.stream.reset(film.d.now)
    film.d.settle()
    assert film.d.stream.account() == (42, 0, 42, 0, 0)
    film.put(50, 60, -7200.0)
    assert film.refused == []


def test_nothing_held_is_dropped_for_a_jump(desk: Desks) -> None:
    """The buffer's duration counts media only."""
    film = Film(desk(buffer_duration=10, max_latency=9))
    film.put(0, 100)
    film.put(100, 200, 7200.0)
    film.put(200, 220, -7200.0)
    assert film.d.stream.account() == (220, 0, 0, 0, 220)
    assert film.d.stream.metrics(film.d.now).overall_view_duration < 10 * SECOND
    pressures = (kvs.BufferDurationPressure, kvs.StreamLatencyPressure, kvs.FrameDropped)
    reported = [e for e in film.d.events if isinstance(e, pressures)]
    assert [type(e) for e in reported] == []


def test_an_offline_writer_does_not_wait_because_of_a_jump(desk: Desks) -> None:
    """The buffer has space for the media."""
    film = Film(desk(streaming_type=kvs.StreamingType.OFFLINE, buffer_duration=10), clock=False)
    film.put(0, 100)
    film.put(100, 200, 7200.0)
    assert film.d.stream.account().accepted == 200


def test_a_connection_is_not_stale_because_time_jumped(desk: Desks) -> None:
    """The service has acknowledged the media as BUFFERING."""
    film = Film(desk(connection_staleness_duration=6))
    film.put(0, 100)
    film.d.read()
    film.d.ack("BUFFERING", 3.6)
    film.put(100, 120, 7200.0)
    film.d.read()
    assert film.d.reported(kvs.ConnectionStale) == []


def frame(ms: int, *, track: int = 1, key: bool = False) -> kvs.Frame:
    return kvs.Frame(b"x", ms * MS, key_frame=key, track_id=track)


def test_sound_does_not_move_the_time_of_pictures() -> None:
    """Sound is held for 5 s and then refused until its time is that of the pictures."""
    timeline = Timeline(frozenset({1}), MS)
    usual, last = 40 * MS, 1000 * MS
    verdicts = []
    for ms in (99_000, 104_000, 104_020, 104_040):
        far = frame(ms, track=2)
        verdicts.append(timeline.judge(far, last, usual, 0))
        if verdicts[-1] is Verdict.HOLD:
            timeline.held.append(far)
    assert verdicts == [Verdict.HOLD, Verdict.HOLD, Verdict.REFUSE, Verdict.REFUSE]
    assert timeline.judge(frame(1040), last, usual, 0) is Verdict.GO, "pictures go on"
    near = frame(1100, track=2)
    assert timeline.judge(near, last, usual, 0) is Verdict.RETURN
    used = [moved.dts for _, moved in timeline.correct(2, last, near.dts, SECOND)]
    assert last < used[0] < used[1] < near.dts
    assert timeline.judge(near, last, usual, 0) is Verdict.GO
    assert not timeline.held


def test_held_sound_goes_with_the_pictures_that_jump() -> None:
    """They are in the order of their times; a frame with yet another time stays held."""
    timeline = Timeline(frozenset({1}), MS)
    sound, elsewhere = frame(99_010, track=2), frame(500_000, track=3)
    pictures = [frame(99_000), frame(99_040), frame(99_080)]
    for far in (sound, elsewhere, *pictures[:2]):
        assert timeline.judge(far, 1000 * MS, 40 * MS, 0) is Verdict.HOLD
        timeline.held.append(far)
    assert timeline.judge(pictures[2], 1000 * MS, 40 * MS, 0) is Verdict.JUMP
    timeline.jump(pictures[2])
    assert list(timeline.due) == [pictures[0], sound, pictures[1]]
    assert timeline.held == [elsewhere]


@pytest.mark.parametrize(
    ("pts", "meant"),
    [
        (NOW // 10_000_000, "in seconds: give Frame(..., time_base=(1, 1))"),
        (NOW // 10_000, "in milliseconds: give Frame(..., time_base=(1, 1000))"),
        (NOW // 10, "in microseconds: give Frame(..., time_base=(1, 1_000_000))"),
        (NOW * 100, "in nanoseconds: give Frame(..., time_base=(1, 1_000_000_000))"),
        (0, "base = kvs.now() once at the start"),
        (3_600_000_000, "absolute_fragment_times=False"),
        (NOW + 25 * 3600 * SECOND, "clock is wrong"),
    ],
)
def test_implausible_absolute_times_are_refused(desk: Desks, pts: int, meant: str) -> None:
    """The error names the likely mistake; streams with relative times accept any time."""
    d = desk()
    with pytest.raises(KvsError) as caught:
        d.stream.put_frame(kvs.Frame(b"x", pts, key_frame=True), d.now)
    assert caught.value.status is StatusCode.MKV_INVALID_FRAME_TIMESTAMP
    assert meant in caught.value.detail
    assert "kvs.ticks()" in caught.value.action, "not the remedy for times that go back"
    d.put(0)
    relative = desk(absolute_fragment_times=False)
    relative.stream.put_frame(kvs.Frame(b"x", min(pts, 2 * NOW), key_frame=True), relative.now)
    assert relative.stream.account().accepted == 1


@pytest.mark.parametrize("clock", [0, 100 * 24 * 3600 * SECOND])
@pytest.mark.parametrize("pts", [0, NOW])
def test_a_clock_that_is_not_set_refuses_no_frame(desk: Desks, clock: int, pts: int) -> None:
    """A device without network says 1970, so no time can be compared with it."""
    d = desk()
    d.now = clock
    d.stream.put_frame(kvs.Frame(b"x", pts, key_frame=True), d.now)
    assert d.stream.account().accepted == 1


def test_an_outlier_among_b_frames_keeps_its_distance_from_decoding(desk: Desks) -> None:
    """Slow pictures are shown long after they are decoded, as their fragments require."""
    d = desk()
    step = 400 * MS
    for index in range(36):
        shown = (1, 0, 2)[index % 3] * step  # far off, for faster pictures
        dts = NOW + index * step + (60 * SECOND if index == 32 else 0)
        frame = kvs.Frame(b"%d" % index, dts + shown + 2 * step, dts=dts, key_frame=index % 6 == 0)
        d.now = NOW + index * step
        d.stream.put_frame(frame, d.now)
        d.settle()
    assert d.reported(kvs.FrameDropped) == []
    moved = next(
        item
        for item in d.stream._core.buffer.view.items.values()
        if b"".join(item.payload) == b"32"
    )
    assert NOW + 31 * step < moved.timestamp < NOW + 33 * step
    (event,) = d.reported(kvs.TimestampCorrected)
    assert event.used == moved.timestamp


@pytest.mark.parametrize("data", [b"", bytes(1 << 21)])
@pytest.mark.parametrize("off", [60.0, -60.0])
def test_a_refused_frame_does_not_move_the_time(desk: Desks, data: bytes, off: float) -> None:
    """A frame without data or larger than the buffer does not affect the next ones."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    film = Film(
        desk(device, streaming_type=kvs.StreamingType.OFFLINE, buffer_duration=60),
        clock=False,
    )
    film.put(0, 45)
    pts = NOW + 45 * 40 * MS + int(off * SECOND)
    with pytest.raises(KvsError):
        film.d.stream.put_frame(kvs.Frame(data, pts), film.d.now)
    film.put(45, 46)
    assert len(film.d.stream._intake.timeline) == 0
    film.put(46, 100)
    assert film.refused == []
    assert film.pictures == [(index, 0) for index in range(100)]
    assert film.d.reported(kvs.TimestampCorrected) == []


def test_a_held_frame_is_stored_before_the_one_that_begins_a_session(film: Film) -> None:
    """The service refused the open fragment, so the next key frame begins a session."""
    film.put(0, 25)
    film.put(25, 26, key=True)  # at 1 s
    film.put(26, 30)
    film.put(30, 31, 60.0)
    film.d.read()
    film.d.ack("ERROR", 1, error=4010)
    assert film.d.stream._core.skip_until_key
    film.put(40, 41)
    film.put(50, 60)
    items = [item for _, item in sorted(film.d.stream._core.buffer.view.items.items())]
    numbers = [int(b"".join(item.payload)) for item in items]
    assert numbers == sorted(numbers)
    assert {30, 40, 50} <= set(numbers)
    assert max(item.timestamp for item in items) < NOW + 4 * SECOND


@pytest.mark.parametrize("back", [0.02, 0.3])
def test_assigned_times_increase_when_the_clock_is_set_back_a_little(
    desk: Desks, back: float
) -> None:
    """The stream assigns increasing times, so no frame is refused."""
    d = desk(frame_timecodes=False)
    times = []
    for index in range(60):
        d.now = NOW + index * 40 * MS - (int(back * SECOND) if index >= 35 else 0)
        d.stream.put_frame(kvs.Frame(b"x", 0, key_frame=index % 10 == 0), d.now)
        d.settle()
        times.append(d.stream._core.buffer.view.newest.timestamp)
    assert d.stream.account() == (60, 0, 0, 0, 60)
    assert times == sorted(set(times))
    assert times[-1] == d.now, "it is the clock's time again"
    corrected = d.reported(kvs.TimestampCorrected)
    assert all(event.used > event.given for event in corrected)
    assert bool(corrected) == (back > 0.04)
    d.now -= SECOND // 5
    with pytest.raises(KvsError):
        d.stream.put_frame(kvs.Frame(b"", 0), d.now)
    d.settle()
    assert d.reported(kvs.TimestampCorrected) == corrected, "a refused frame has no time"


def test_assigned_times_continue_after_a_wait_for_space(desk: Desks) -> None:
    """An offline stream uses the clock after the wait, so that no frame is far off."""
    d = desk(frame_timecodes=False, streaming_type=kvs.StreamingType.OFFLINE)
    for index in range(40):
        d.now = NOW + index * 40 * MS + (15 * SECOND if index >= 30 else 0)
        d.stream.put_frame(kvs.Frame(b"x", 0, key_frame=index % 10 == 0), d.now)
        d.settle()
        assert d.stream._core.buffer.view.newest.timestamp == d.now, "it was not held"
    assert d.reported(kvs.TimestampCorrected) == []


def test_assigned_times_ignore_the_time_of_a_refused_frame(desk: Desks) -> None:
    """The caller's times are ignored, including that of a refused frame."""
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
    d = desk(device, frame_timecodes=False)
    for index in range(40):
        given = NOW + index * 40 * MS + (60 * SECOND if index == 15 else SECOND // 5)
        if index % 10 == 5:
            with pytest.raises(KvsError):
                d.stream.put_frame(kvs.Frame(bytes(2 << 20), given), d.now)
        frame = kvs.Frame(b"x", given, key_frame=index % 10 == 0)
        d.stream.put_frame(frame, d.now)
        d.settle()
        assert d.stream._core.buffer.view.newest.timestamp == d.now
        d.now += 40 * MS
    assert d.stream.account() == (40, 0, 0, 0, 40)
    assert d.reported(kvs.TimestampCorrected) == d.reported(kvs.TimeJumped) == []


def test_a_pause_after_an_outlier_is_a_pause(desk: Desks) -> None:
    """The outlier is stored late and does not count as the newest frame on our clock."""
    d = desk()
    for index in range(20):
        at = index * 40 * MS + (5 * SECOND if index > 10 else 0)
        d.now = NOW + at
        far = 60 * SECOND if index == 10 else 0
        d.stream.put_frame(kvs.Frame(b"x", d.now + far, key_frame=index == 0), d.now)
        d.settle()
        assert d.stream.waiting == (index == 10), index
    assert len(d.reported(kvs.TimestampCorrected)) == 1
    assert d.reported(kvs.TimeJumped) == []
    assert d.stream.account() == (20, 0, 0, 0, 20)


@pytest.mark.parametrize("at", [11, 12, 13, 20, 21])
def test_an_outlier_among_the_first_frames_of_a_fragment(desk: Desks, at: int) -> None:
    """Frames are put without pauses; the steps of the frames before define what is far."""
    film = Film(desk(), clock=False)
    film.put(0, at)
    film.put(at, at + 1, 9000.0)
    film.put(at + 1, 60)
    assert film.refused == []
    assert [number for number, _ in film.pictures] == list(range(60))
    assert all(abs(off) < 0.04 for _, off in film.pictures)


def test_the_limit_for_far_frames_depends_on_the_usual_step() -> None:
    """It is half a second, or eight steps; at first the step is unknown."""
    timeline = Timeline(frozenset({1}), MS)
    assert timeline.far(40 * MS) == timeline.far(0) == SECOND // 2 + MS
    assert timeline.far(SECOND) == 8 * SECOND + MS
    assert timeline.far(None) == 2 * SECOND + MS


def test_marks_do_not_count_as_steps() -> None:
    """After a fragment of three frames come marks and single frames: the usual step is 1 s."""
    view = ContentView(100, 600 * SECOND)
    for index in range(6):
        flags = FRAGMENT_START if index in (0, 3, 4, 5) else 0
        time = index * SECOND
        view.append(ViewItem(time, time, SECOND, flags, b"", 0, (), 1, 0, time))
        if index >= 2:
            view.append_mark(b"mark", 0)
            assert usual_step(view, 0) == (SECOND if index > 2 else None)


def test_corrected_times_increase_and_correct_ones_stay() -> None:
    """A held frame shortly before the next one keeps its time; an outlier gets an earlier one."""
    timeline = Timeline(frozenset({1}), MS)
    outlier, right = frame(500_000, track=2), frame(60_000, track=2)
    timeline.held += [outlier, right]
    ((given, moved),) = timeline.correct(2, 1000 * MS, 60_020 * MS, SECOND)
    assert given is outlier
    assert list(timeline.due) == [moved, right]
    assert 1000 * MS < moved.dts <= 2000 * MS, "no farther than what is not far"


def test_waiting_for_space_is_not_a_pause_of_the_source(desk: Desks) -> None:
    """An offline writer waits for a minute, and then puts a frame that is far off."""
    film = Film(desk(streaming_type=kvs.StreamingType.OFFLINE, buffer_duration=60), clock=False)
    film.put(0, 45)
    film.d.now += 60 * SECOND
    film.put(45, 46, 10.0)
    film.put(46, 60)
    assert film.refused == []
    assert [event.given - NOW for event in film.d.reported(kvs.TimestampCorrected)] == [
        45 * 40 * MS + 10 * SECOND
    ]


def test_held_frames_wait_for_space_in_an_offline_stream(desk: Desks) -> None:
    """None is lost, and their order stays."""
    film = Film(desk(streaming_type=kvs.StreamingType.OFFLINE), clock=False)
    film.put(0, 40)
    film.put(40, 42, 60.0)
    store = film.d.client.store
    used = store.size_bytes - store.used_bytes
    store.charge(used)
    for _ in range(3):
        with pytest.raises(kvs.WouldBlock):
            film.d.stream.put_waiting(film.d.now)
        assert film.d.stream.waiting == 2
    store.release(used)
    film.d.stream.put_waiting(film.d.now)
    assert film.d.stream.waiting == 0
    assert film.pictures[40:] == [(40, 60.0), (41, 60.0)]
    assert film.d.stream.account() == (42, 0, 0, 0, 42)


def test_held_frames_without_space_are_reported_as_dropped(desk: Desks) -> None:
    """They were accepted when there was space for them."""
    film = Film(desk(store_pressure_policy=kvs.StorePressurePolicy.OOM))
    film.put(0, 40)
    film.put(40, 42, 60.0)
    store = film.d.client.store
    used = store.size_bytes - store.used_bytes
    store.charge(used)
    film.d.stream.put_waiting(film.d.now)
    film.d.settle()
    store.release(used)
    assert film.d.stream.account() == (42, 0, 2, 0, 40)
    dropped = film.d.reported(kvs.FrameDropped)
    assert {event.reason for event in dropped} == {kvs.DropReason.INVALID}
    assert dropped[0].first == NOW + 40 * 40 * MS + 60 * SECOND
    statuses = {event.status for event in film.d.reported(kvs.StreamErrorReported)}
    assert statuses == {StatusCode.STORE_OUT_OF_MEMORY}


def test_pictures_at_an_earlier_time_for_5_s_are_a_jump(desk: Desks) -> None:
    """Also if they are too few to be a jump by their number."""
    film = Film(desk())
    film.put(0, 105)
    film.put(105, 106, -100.0)
    film.put(255, 256, -100.0)
    assert film.refused == [105]
    assert len(jumps(film.d)) == 1
    film.put(260, 270, -100.0)
    assert film.pictures == [*((n, 0) for n in range(105)), *((n, -100.0) for n in range(260, 270))]
