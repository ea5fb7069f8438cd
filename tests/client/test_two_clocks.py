"""Timers use the monotonic clock; setting the wall clock affects timestamps and expirations only.

`d.now` is the monotonic time; `d.step` is the wall clock minus `d.now`.
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


def pass_time(d: Any, seconds: int) -> None:
    """Let seconds pass, and call the timer when it is due."""
    for _ in range(seconds):
        d.now += SECOND
        d.client.handle_timer(d.now)
        d.settle()


def marks(d: Any) -> int:
    """Return how many end-of-fragment marks the view has."""
    return sum(bool(item.flags & END_OF_FRAGMENT) for item in items(d))


def items(d: Any) -> list[Any]:
    return list(d.stream._core.buffer.view.items.values())


def tokens(d: Any) -> int:
    """Return how many streaming tokens were requested."""
    return sum(isinstance(call, kvs.GetStreamingToken) for call in d.calls)


def film(d: Any, frames: range, *, keys: tuple[int, ...], step_at: int, step: int) -> None:
    """Put frames 40 ms apart with the times of a camera's own clock."""
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
def test_a_step_of_the_wall_clock_ends_no_fragment_and_skips_no_frame(
    desk: Desks, step: int
) -> None:
    """The frames continue evenly. After the last one, the fragment is ended after its idle time."""
    d = desk(kvs.DeviceInfo())
    film(d, range(300), keys=(0, 250), step_at=100, step=step)
    assert d.stream.account() == (300, 0, 0, 0, 300)
    assert not d.reported(ev.FrameSkipped)
    assert marks(d) == 0
    pass_time(d, 15)
    d.step -= 2 * step
    assert marks(d) == 0
    pass_time(d, 20)
    assert marks(d) == 1


@pytest.mark.parametrize("timer", [True, False])
@pytest.mark.parametrize("at", [30, 90, 150])
def test_a_pause_between_two_frames_ends_no_fragment(desk: Desks, at: int, timer: bool) -> None:
    """A process that was suspended for a minute was not idle."""
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
def test_a_missing_last_ack_is_reported_once(desk: Desks) -> None:
    """It is reported after its time limit, however often the clock is set."""
    d = desk(kvs.DeviceInfo(client_info=kvs.ClientInfo(stop_stream_timeout=60)))
    d.put(0)
    d.read()
    d.stream.stop(d.now)
    d.read()
    for step in (-HOUR, 2 * HOUR, -DAY):
        pass_time(d, 20)
        assert not d.reported(ev.StreamErrorReported)
        d.step += step
    pass_time(d, 60)
    reported = [event.status for event in d.reported(ev.StreamErrorReported)]
    assert reported == [StatusCode.PERSISTED_ACK_TIMEOUT]


@STEPS
def test_metrics_use_the_time_that_has_passed(desk: Desks, step: int) -> None:
    """These are uptime and rates."""
    d = desk()
    d.token_life = 40 * DAY
    d.put(0, data=bytes(1000))
    d.read()
    pass_time(d, 6)
    d.step += step
    for index in range(20):
        pass_time(d, 1)
        d.put(index + 1, data=bytes(100_000), key=True)
        d.read()
    metrics = d.stream.metrics(d.now)
    assert metrics.uptime == 26 * SECOND
    assert 50_000 < metrics.current_transfer_rate < 200_000
    assert 0.5 < metrics.current_frame_rate < 2


# --- tokens and credentials ----------------------------------------------------------------------
@pytest.mark.parametrize("step", [0, 10 * SECOND, -10 * SECOND, -2 * HOUR, -DAY])
def test_a_token_is_replaced_before_it_expires(desk: Desks, step: int) -> None:
    """It is replaced before the service refuses it, but not at once."""
    d = desk()
    d.token_life = 60 * SECOND
    d.put(0)
    pass_time(d, 10)
    d.step = step
    for count, seconds in ((1, 30), (2, 22)):
        pass_time(d, seconds)
        d.put(5 * count)
        assert tokens(d) == count


@pytest.mark.parametrize("step", [60 * SECOND, 2 * HOUR, DAY])
def test_a_token_that_has_expired_by_the_wall_clock_is_replaced_at_once(
    desk: Desks, step: int
) -> None:
    """That is within a period of the timer; the frames continue in the open fragment."""
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
    pass_time(d, 20)
    film(d, range(200, 210), keys=(200,), step_at=-1, step=0)
    assert tokens(d) == 2, "the new one is as good as it says"


def test_a_token_without_an_expiration_is_replaced_after_the_longest_life(desk: Desks) -> None:
    """The wall clock does not matter for it."""
    d = desk()
    d.answers[kvs.GetStreamingToken] = [(200, kvs.AuthInfo())]
    d.put(0)
    d.step = 400 * DAY
    pass_time(d, 30)
    d.put(5)
    assert tokens(d) == 1
    pass_time(d, 40 * 60)
    d.put(10)
    assert tokens(d) == 2


@pytest.mark.parametrize(("step", "asked"), [(2 * HOUR, 2), (60 * SECOND, 1), (-DAY, 1)])
def test_credentials_expire_by_the_wall_clock(desk: Desks, step: int, asked: int) -> None:
    """The next call that needs them requests new ones."""
    d = desk()
    d.answers[kvs.GetSecurityToken] = [(200, kvs.AuthInfo(expiration=NOW + HOUR))]
    d.put(0)
    d.step = step
    d.stream.reset(d.now)
    d.settle()
    assert sum(isinstance(call, kvs.GetSecurityToken) for call in d.calls) == asked


def test_an_upload_has_the_start_time_of_the_wall_clock(desk: Desks) -> None:
    """The request header contains it."""
    d = desk()
    d.step = DAY
    d.put(0)
    [call] = [call for call in d.calls if isinstance(call, kvs.PutStream)]
    assert call.start_timestamp == d.now + DAY
    assert call.not_before == d.now


# --- timestamps ----------------------------------------------------------------------------------
def test_absolute_times_are_compared_with_the_wall_clock(desk: Desks) -> None:
    """This works right after it was set: a camera boots in 1970, and NTP sets its clock."""
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


def put_stamped(d: Any, step: int, *, tracks: tuple[int, ...] = (1,), key_every: int = 10) -> list:
    """Put 60 frames that the stream stamps, 40 ms apart, and set the clock before the 36th.

    Return their times.
    """
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
def test_assigned_times_follow_the_wall_clock_from_the_next_fragment_on(
    desk: Desks, step: int
) -> None:
    """No frame is skipped or refused, and no fragment is cut short."""
    d = desk(frame_timecodes=False)
    times = put_stamped(d, step)
    even = [NOW + index * 40 * MS for index in range(60)]
    assert times == even[:40] + [time + step for time in even[40:]]
    assert d.stream.account() == (60, 0, 0, 0, 60)
    starts = [i for i, item in enumerate(items(d)) if item.flags & FRAGMENT_START]
    assert starts == [0, 10, 20, 30, 40, 50]
    sessions = [i for i, item in enumerate(items(d)) if item.flags & STREAM_START]
    assert sessions == ([0] if step > 0 else [0, 40])
    assert [(event.before, event.after) for event in d.reported(ev.TimeJumped)] == [
        (times[39], times[40])
    ]
    assert not d.reported(ev.TimestampCorrected)


@STEPS
@pytest.mark.parametrize("mode", list(kvs.FrameOrderMode))
def test_assigned_times_of_two_tracks(step: int, mode: kvs.FrameOrderMode) -> None:
    """Sound keeps the time of the pictures."""
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
def test_assigned_times_of_sound_alone(step: int) -> None:
    """Fragments are cut by time, and any packet may begin one."""
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
