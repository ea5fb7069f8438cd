"""Timers follow the monotonic clock; a wall clock that is set changes timestamps and expiry only.

`d.now` is the monotonic time; `d.step` is how far the wall clock is ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.client.buffer.view import END_OF_FRAGMENT, FRAGMENT_START, STREAM_START
from kvsproducer.status import KvsError, StatusCode

NOW = 17_000_000_000_000_000
MS = 10_000
SECOND = 10_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
STEPS = pytest.mark.parametrize("step", [60 * SECOND, 2 * HOUR, DAY, -60 * SECOND, -2 * HOUR, -DAY])
Desks = Callable[..., Any]


def go_on(d: Any, seconds: int) -> None:
    """Let so many seconds pass; the timer is called when it is due."""
    for _ in range(seconds):
        d.now += SECOND
        d.client.handle_timer(d.now)
        d.settle()


def marks(d: Any) -> int:
    """How many fragments were ended without a frame after them."""
    return sum(bool(item.flags & END_OF_FRAGMENT) for item in items(d))


def items(d: Any) -> list[Any]:
    return list(d.stream._core.buffer.view.items.values())


def tokens(d: Any) -> int:
    """How many streaming tokens were asked for."""
    return sum(isinstance(call, kvs.GetStreamingToken) for call in d.calls)


def film(d: Any, frames: range, *, keys: tuple[int, ...], step_at: int, step: int) -> None:
    """Put frames 40 ms apart as a camera does whose clock is its own."""
    for index in frames:
        if index == step_at:
            d.step += step
            d.client.handle_timer(d.now)
        frame = kvs.Frame(b"x" * 100, NOW + index * 40 * MS, key_frame=index in keys)
        d.stream.put_frame(frame, d.now)
        d.settle()
        d.now += 40 * MS
        if d.now >= d.client.next_timer():
            d.client.handle_timer(d.now)


# --- fragments -----------------------------------------------------------------------------------
@STEPS
def test_clock_step_closes_no_fragment_and_skips_no_frame(desk: Desks, step: int) -> None:
    """The frames go on evenly; then, without frames, the fragment is ended in its time."""
    d = desk(kvs.DeviceInfo())
    film(d, range(300), keys=(0, 250), step_at=100, step=step)
    assert d.stream.account() == (300, 0, 0, 0, 300)
    assert not d.told(ev.FrameSkipped)
    assert marks(d) == 0
    go_on(d, 15)
    d.step -= 2 * step
    assert marks(d) == 0
    go_on(d, 20)
    assert marks(d) == 1


@pytest.mark.parametrize("timer", [True, False])
@pytest.mark.parametrize("at", [30, 90, 150])
def test_time_that_passes_between_two_frames_ends_no_fragment(
    desk: Desks, at: int, timer: bool
) -> None:
    """A process that was suspended for a minute, and goes on: it was not idle."""
    d = desk(kvs.DeviceInfo())
    for index in range(at):
        film(d, range(index, index + 1), keys=(0,), step_at=-1, step=0)
    d.now += 60 * SECOND
    if timer:
        d.client.handle_timer(d.now)
    film(d, range(at, at + 20), keys=(at + 10,), step_at=-1, step=0)
    assert d.stream.account().skipped == 0
    assert marks(d) == 0


# --- timers --------------------------------------------------------------------------------------
def test_a_last_ack_that_does_not_come_is_reported_once(desk: Desks) -> None:
    """After the time for it, however often the clock is set."""
    d = desk(kvs.DeviceInfo(client_info=kvs.ClientInfo(stop_stream_timeout=60)))
    d.put(0)
    d.read()
    d.stream.stop(d.now)
    d.read()
    for step in (-HOUR, 2 * HOUR, -DAY):
        go_on(d, 20)
        assert not d.told(ev.StreamErrorReported)
        d.step += step
    go_on(d, 60)
    told = [event.status for event in d.told(ev.StreamErrorReported)]
    assert told == [StatusCode.PERSISTED_ACK_TIMEOUT]


@STEPS
def test_figures_count_the_time_that_has_passed(desk: Desks, step: int) -> None:
    """Uptime and rates."""
    d = desk()
    d.token_life = 40 * DAY
    d.put(0, data=bytes(1000))
    d.read()
    go_on(d, 6)
    d.step += step
    for index in range(20):
        go_on(d, 1)
        d.put(index + 1, data=bytes(100_000), key=True)
        d.read()
    metrics = d.stream.metrics(d.now)
    assert metrics.uptime == 26 * SECOND
    assert 50_000 < metrics.current_transfer_rate < 200_000
    assert 0.5 < metrics.current_frame_rate < 2


# --- tokens and credentials ----------------------------------------------------------------------
@pytest.mark.parametrize("step", [0, 10 * SECOND, -10 * SECOND, -2 * HOUR, -DAY])
def test_token_is_replaced_in_its_time(desk: Desks, step: int) -> None:
    """Before the service takes it for expired, and not at once either."""
    d = desk()
    d.token_life = 60 * SECOND
    d.put(0)
    go_on(d, 10)
    d.step = step
    for count, seconds in ((1, 30), (2, 22)):
        go_on(d, seconds)
        d.put(5 * count)
        assert tokens(d) == count


@pytest.mark.parametrize("step", [60 * SECOND, 2 * HOUR, DAY])
def test_token_that_expires_by_the_wall_clock_is_replaced_at_once(desk: Desks, step: int) -> None:
    """Within a period of the timer; the frames go on in the fragment that is open."""
    d = desk(kvs.DeviceInfo())
    d.token_life = 60 * SECOND
    film(d, range(10), keys=(0,), step_at=-1, step=0)
    d.read()
    assert tokens(d) == 1
    film(d, range(10, 200), keys=(0, 150), step_at=15, step=step)
    assert tokens(d) == 2
    assert d.stream.account() == (200, 0, 0, 0, 200)
    starts = [item.flags & (STREAM_START | FRAGMENT_START) for item in items(d)]
    assert [index for index, flags in enumerate(starts) if flags] == [0, 150]
    assert marks(d) == 0
    go_on(d, 20)
    film(d, range(200, 210), keys=(200,), step_at=-1, step=0)
    assert tokens(d) == 2, "the new one is as good as it says"


def test_token_without_an_expiration_is_replaced_in_its_time(desk: Desks) -> None:
    """No clock says that it has expired."""
    d = desk()
    d.answers[kvs.GetStreamingToken] = [(200, kvs.AuthInfo())]
    d.put(0)
    d.step = 400 * DAY
    go_on(d, 30)
    d.put(5)
    assert tokens(d) == 1
    go_on(d, 40 * 60)
    d.put(10)
    assert tokens(d) == 2


@pytest.mark.parametrize(("step", "asked"), [(2 * HOUR, 2), (60 * SECOND, 1), (-DAY, 1)])
def test_credentials_expire_by_the_wall_clock(desk: Desks, step: int, asked: int) -> None:
    """They are asked for again with the next call that needs them."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, kvs.AuthInfo(expiration=NOW + HOUR))]
    d.put(0)
    d.step = step
    d.stream.reset(d.now)
    d.settle()
    assert sum(isinstance(call, kvs.GetSecurityToken) for call in d.calls) == asked


def test_an_upload_starts_at_the_wall_clock_s_time(desk: Desks) -> None:
    """That is what its header says."""
    d = desk()
    d.step = DAY
    d.put(0)
    [call] = [call for call in d.calls if isinstance(call, kvs.PutStream)]
    assert call.start_timestamp == d.now + DAY
    assert call.not_before == d.now


# --- timestamps ----------------------------------------------------------------------------------
def test_absolute_times_are_compared_with_the_wall_clock(desk: Desks) -> None:
    """Right after it was set, too: a camera boots in 1970, and NTP tells it the time."""
    d = desk()
    d.step = -NOW
    put = d.stream.put_frame
    put(kvs.Frame(b"x", 40 * MS, key_frame=True), d.now)
    d.step = 0
    for index in range(1, 40):
        put(kvs.Frame(b"x", NOW + index * 40 * MS, key_frame=index % 10 == 1), d.now)
        d.now += 40 * MS
    assert d.stream.account() == (40, 0, 0, 0, 40)
    with pytest.raises(KvsError, match="more than a day ahead"):
        put(kvs.Frame(b"x", NOW + 2 * DAY, key_frame=True), d.now)


def own_times(d: Any, step: int, *, tracks: tuple[int, ...] = (1,), key_every: int = 10) -> list:
    """Put 60 frames 40 ms apart that the stream stamps; the clock is set before the 36th."""
    times = []
    for index in range(60):
        if index == 35:
            d.step += step
        for track in tracks:
            key = track == 1 and index % key_every == 0
            frame = kvs.Frame(b"x", 0, key_frame=key, track_id=track)
            d.stream.put_frame(frame, d.now)
            d.settle()
        times.append(d.stream._core.buffer.view.newest.timestamp)
        d.now += 40 * MS
    return times


@STEPS
def test_own_times_follow_the_wall_clock_from_the_next_fragment_on(desk: Desks, step: int) -> None:
    """Nothing is skipped or refused, and no fragment is cut short."""
    d = desk(frame_timecodes=False)
    times = own_times(d, step)
    even = [NOW + index * 40 * MS for index in range(60)]
    assert times == even[:40] + [time + step for time in even[40:]]
    assert d.stream.account() == (60, 0, 0, 0, 60)
    starts = [i for i, item in enumerate(items(d)) if item.flags & FRAGMENT_START]
    assert starts == [0, 10, 20, 30, 40, 50]
    sessions = [i for i, item in enumerate(items(d)) if item.flags & STREAM_START]
    assert sessions == ([0] if step > 0 else [0, 40])
    assert [(event.before, event.after) for event in d.told(ev.TimeJumped)] == [
        (times[39], times[40])
    ]
    assert not d.told(ev.TimestampCorrected)


@STEPS
@pytest.mark.parametrize("mode", list(kvs.FrameOrderMode))
def test_own_times_of_two_tracks(step: int, mode: kvs.FrameOrderMode) -> None:
    """Sound keeps to the pictures' time."""
    wall = NOW
    client = kvs.Client(
        kvs.DeviceInfo(), now=NOW, dice=lambda sides: sides // 2, wall=lambda now: now + wall - NOW
    )
    info = kvs.StreamInfo.audio_video(
        name="av", nal_adaptation=0, frame_timecodes=False, frame_order_mode=mode
    )
    stream = client.open_stream(info, NOW)
    for index in range(120):
        if index == 35:
            wall += step
        now = NOW + index * 40 * MS
        stream.put_frame(kvs.Frame(b"x", 0, key_frame=index % 20 == 0), now)
        stream.put_frame(kvs.Frame(b"y", 0, track_id=2, key_frame=True), now + 10 * MS)
    stream.stop(now)
    events = list(iter(stream.next_event, None))
    assert stream.account() == (240, 0, 0, 0, 240)
    assert not [event for event in events if isinstance(event, ev.FrameSkipped)]


@STEPS
def test_own_times_of_sound_alone(step: int) -> None:
    """Its fragments are cut by time, and any packet may begin one."""
    wall = NOW
    client = kvs.Client(
        kvs.DeviceInfo(), now=NOW, dice=lambda sides: sides // 2, wall=lambda now: now + wall - NOW
    )
    info = kvs.StreamInfo.audio("alaw", name="mic", frame_timecodes=False)
    stream = client.open_stream(info, NOW)
    for index in range(300):
        if index == 135:
            wall += step
        stream.put_frame(kvs.Frame(b"x", 0), NOW + index * 20 * MS)
    assert stream.account() == (300, 0, 0, 0, 300)
