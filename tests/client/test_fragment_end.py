"""Fragments that are ended by a mark: for a flush, an idle stream, or a waiting writer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
MS = 10_000
MIB = 1 << 20
MARK = b"AWS_KINESISVIDEO_END_OF_FRAGMENT"
OFFLINE = kvs.StreamingType.OFFLINE
PICTURE, SOUND = 1, 2
ORDERED = [mode for mode in kvs.FrameOrderMode if mode is not kvs.FrameOrderMode.PASS_THROUGH]
Desks = Callable[..., Any]


class Film:
    """Pictures and sound of one offline stream, whose store has 1 MiB."""

    def __init__(self, desk: Desks, mode: kvs.FrameOrderMode, **info: Any) -> None:
        device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=MIB))
        tracks = kvs.StreamInfo.audio_video("h264", "aac").tracks
        info = {"streaming_type": OFFLINE, "tracks": tracks, "frame_order_mode": mode, **info}
        self.d = desk(device, **info)

    def put(self, track: int, ms: int, size: int = 1000, *, key: bool = False) -> None:
        """Put a frame whose data contains its track and time."""
        d = self.d
        data = f"{'_PS'[track]}{ms:06}.".encode().ljust(size, b"x")
        frame = kvs.Frame(data, d.now + ms * MS, duration=20 * MS, track_id=track, key_frame=key)
        d.stream.put_frame(frame, d.now)
        d.settle()

    def sent(self) -> list[str]:
        """Return the frames that an upload gets now, and the marks."""
        body, _ = self.d.read()
        names = re.findall(rb"([PS])0*(\d+)\.|" + MARK, body)
        return [(track + number).decode() or "mark" for track, number in names]


@pytest.mark.parametrize("mode", ORDERED)
def test_a_queued_key_frame_waits_for_the_space_of_the_open_fragment(
    desk: Desks, mode: kvs.FrameOrderMode
) -> None:
    """A mark ends the fragment that fills the store, as in a stream with one track."""
    film = Film(desk, mode)
    d = film.d
    first = []
    for index in range(40):
        film.put(PICTURE, index * 40, 24_000, key=not index)
        film.put(SOUND, index * 40 + 10)
        first += [f"P{index * 40}", f"S{index * 40 + 10}"]
    film.put(PICTURE, 1600, 24_000, key=True)
    film.put(SOUND, 1610)
    for _ in range(3):
        with pytest.raises(kvs.WouldBlock):
            film.put(SOUND, 1630)
    assert d.stream.account() == (82, 0, 0, 0, 82)
    assert film.sent() == [*first, "mark"]
    d.ack("PERSISTED", 0)
    assert d.stream.account() == (82, 80, 0, 0, 2)
    film.put(SOUND, 1630)
    d.stream.end_fragment(d.now)
    assert film.sent() == ["P1600", "S1610", "S1630", "mark"]
    assert d.stream.account() == (83, 80, 0, 0, 3)
    assert d.reported(ev.FrameSkipped) == d.reported(ev.StreamErrorReported) == []


def test_a_queued_frame_waits_for_space_that_another_stream_uses(desk: Desks) -> None:
    """The streams share the store, so another stream may take the space after the put."""
    film = Film(desk, kvs.FrameOrderMode.PTS_ONE_MS_COMPENSATE)
    d = film.d
    film.put(PICTURE, 0, key=True)
    film.put(SOUND, 10)
    film.put(PICTURE, 200, 100_000)
    used = d.client.store.size_bytes - d.client.store.used_bytes - 50_000
    d.client.store.charge(used)
    film.put(SOUND, 210)
    for _ in range(3):
        with pytest.raises(kvs.WouldBlock):
            film.put(SOUND, 230)
        with pytest.raises(kvs.WouldBlock):
            d.stream.end_fragment(d.now)
    assert d.stream.account() == (4, 0, 0, 0, 4)
    d.client.store.release(used)
    film.put(SOUND, 230)
    d.stream.end_fragment(d.now)
    assert film.sent() == ["P0", "S10", "P200", "S210", "S230", "mark"]
    assert d.stream.account() == (5, 0, 0, 0, 5)


def test_a_queued_frame_without_space_is_dropped_when_the_stream_stops(desk: Desks) -> None:
    """It cannot wait then."""
    film = Film(desk, kvs.FrameOrderMode.PTS_ONE_MS_COMPENSATE)
    d = film.d
    film.put(PICTURE, 0, key=True)
    film.put(SOUND, 10)
    film.put(PICTURE, 200, 100_000)
    d.client.store.charge(d.client.store.size_bytes - d.client.store.used_bytes - 50_000)
    d.stream.stop(d.now)
    d.settle()
    assert d.stream.account() == (3, 0, 1, 0, 2)
    assert [event.reason for event in d.reported(ev.FrameDropped)] == [ev.DropReason.INVALID]


@pytest.mark.parametrize("mode", ORDERED)
@pytest.mark.parametrize("end", ["end_fragment", "mark"])
def test_ending_a_fragment_stores_held_sound(
    desk: Desks, mode: kvs.FrameOrderMode, end: str
) -> None:
    """No accepted frame is held back after it."""
    film = Film(desk, mode)
    d = film.d
    for index in range(10):
        film.put(PICTURE, index * 200, key=index % 5 == 0)
        for sound in range(10):
            film.put(SOUND, index * 200 + sound * 20)
    film.put(SOUND, 9_000)
    film.put(SOUND, 9_020)
    assert d.stream.waiting
    if end == "mark" and mode in (
        kvs.FrameOrderMode.DTS_ONE_MS_COMPENSATE,
        kvs.FrameOrderMode.PTS_ONE_MS_COMPENSATE,
    ):
        return  # these modes take key frames or marks, not both
    if end == "mark":
        d.stream.put_frame(kvs.Frame.end_of_fragment(), d.now)
    else:
        d.stream.end_fragment(d.now)
    assert d.stream.waiting == 0
    sent = film.sent()
    assert sent[-1] == "mark"
    d.ack("PERSISTED", 0)
    d.ack("PERSISTED", 1)
    account = d.stream.account()
    assert (account.held, account.dropped) == (0, 0)
    assert account.persisted + account.skipped == 112


@pytest.mark.parametrize(
    ("by_keys", "status"),
    [(False, StatusCode.END_OF_FRAGMENT_FRAME_INVALID_STATE), (True, None)],
)
def test_end_fragment_by_kind_of_stream(
    desk: Desks, by_keys: bool, status: StatusCode | None
) -> None:
    """It does nothing without an open fragment, and raises if fragments are cut by time."""
    d = desk(key_frame_fragmentation=by_keys)
    d.stream.end_fragment(d.now)
    d.put(0)
    if status is None:
        d.stream.end_fragment(d.now)
        d.stream.end_fragment(d.now)
        assert d.read()[0].count(MARK) == 1
    else:
        with pytest.raises(KvsError) as caught:
            d.stream.end_fragment(d.now)
        assert caught.value.status is status
