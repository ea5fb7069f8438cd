"""Ctrl-C in the middle of a put or an end, at every line of it: the stream is whole and goes on.

Python raises KeyboardInterrupt between any two lines of the main thread. Here a trace raises it at
the first line that a call runs, then anew at the second, and so on to the last. Each time the
books, the view and the store must agree, what was accepted must be stored or told as dropped, and
the service must be sent Matroska that it can read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.heap import ArenaStore, HoldingStore, ReferenceStore
from kvsproducer.heap.files import SpillFiles
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv.events import Block, ClusterStart
from kvsproducer.status import KvsError
from kvsproducer.view import STREAM_START

SECOND = 10_000_000
EBML = bytes.fromhex("1a45dfa3")
Desks = Callable[..., Any]
SMALL = bytes.fromhex("6742c00ada11e840000003004000000c83c489a8")
LARGE = bytes.fromhex("6742c00ada083684000003000400000300c83c489a80")
PPS = bytes.fromhex("68ce3c80")


def interrupted(line: int, stream: kvs.Stream, frame: kvs.Frame, now: int) -> bool:
    """Put a frame, interrupted at a line (counted from 0); whether there was such a line."""
    return struck(line, stream, lambda: stream.put_frame(frame, now))


def struck(line: int, stream: kvs.Stream, call: Callable[[], None]) -> bool:
    """Make a call, interrupted at a line (counted from 0); whether there was such a line."""
    left = line
    before = sys.gettrace()
    intake: Any = stream._intake
    repair = intake.repair

    def at_line(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return at_line

    def at_call(frame: FrameType, _event: str, _arg: object) -> Any:
        return at_line if "kvsproducer/" in frame.f_code.co_filename else None

    def seen_repair(now: int) -> None:
        """A trace ends when it raises: who traced before (coverage) is to see what follows."""
        sys.settrace(before)
        try:
            repair(now)
        finally:
            sys.settrace(None)

    intake.repair = seen_repair
    sys.settrace(at_call)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
        intake.repair = repair
    return False


def name(number: int) -> bytes:
    return b"frame-%03d" % number


class Scene:
    """A desk with what was put, and what each upload was given."""

    def __init__(self, desk: Any) -> None:
        self.d = desk
        self.number = 0
        self.parsers: dict[int, MkvParser] = {}
        self.clusters: dict[int, list[int]] = {}
        self.sent: set[int] = set()
        self.start = desk.now
        self.byte_stream = bool(desk.stream.info.nal_adaptation)

    def frame(
        self, *, key: bool = False, data: bytes = b"", end: bool = False, **more: Any
    ) -> kvs.Frame:
        if end:
            return kvs.Frame.end_of_fragment()
        self.number += 1
        number = self.number
        pts = self.start + number * SECOND // 5
        more.setdefault("duration", SECOND // 5)
        if self.byte_stream and not data:
            sets = b"\0\0\1" + SMALL + b"\0\0\1" + PPS
            data = (sets if key else b"") + b"\0\0\1" + (b"\x65" if key else b"\x41")
        return kvs.Frame(data + name(number), pts, key_frame=key, **more)

    def put(self, **more: Any) -> None:
        frame = self.frame(**more)
        try:
            self.d.stream.put_frame(frame, self.d.now)
        except kvs.WouldBlock:
            self.read()
            self.d.stream.put_frame(frame, self.d.now)
        self.d.settle()

    def read(self) -> None:
        """Read every upload to its end, as a service that parses and stores everything."""
        for upload in range(6):
            with suppress(KvsError):  # it is over, or was never made
                data, _status = self.d.read(upload=upload)
                parser = self.parsers.setdefault(upload, MkvParser())
                parser.receive_data(data)
                self._parse(parser, self.clusters.setdefault(upload, []))
                for timecode in self.clusters[upload]:
                    ack = kvs.FragmentAck(kvs.AckType.PERSISTED, timecode)
                    self.d.stream.receive_parsed_ack(upload, ack, self.d.now)
                self.d.read(upload=upload)

    def take(self) -> None:
        """Read the newest upload, without an ack."""
        parser = self.parsers.setdefault(self.d.upload, MkvParser())
        parser.receive_data(self.d.read()[0])
        self._parse(parser, self.clusters.setdefault(self.d.upload, []))

    def _parse(self, parser: MkvParser, clusters: list[int]) -> None:
        while (event := parser.next_event()) is not None:
            if isinstance(event, ClusterStart):
                clusters.append(event.timecode)
            elif isinstance(event, Block):
                text = bytes(event.frames[0])
                self.sent.add(int(text[text.index(b"frame-") + 6 :][:3]))


def whole(d: Any) -> None:
    """The invariants of the moment."""
    core = d.stream._core
    view, account = core.view, d.stream.account()
    items = [view[index] for index in range(view.tail, view.head)]
    assert min(account) >= 0
    for item in items:
        assert item.length == len(item.header) + sum(map(len, item.payload))
        assert item.header.count(EBML) == bool(item.flags & STREAM_START)
    assert view.size_bytes == sum(item.length for item in items)
    assert view.unsent_bytes == sum(i.length for i in items if i.index >= view.current)
    assert view.tail <= view.current <= view.head
    assert d.client.store.used_bytes == d.stream.charged_bytes
    told = sum(event.count for event in d.told(kvs.FrameDropped))
    assert told >= account.dropped, "a drop is told before it counts"


def blocks(d: Any, **_more: Any) -> Scene:
    """Into an open fragment, with an upload that waits."""
    scene = Scene(d)
    scene.put(key=True)
    scene.put()
    scene.take()
    return scene


def nothing(d: Any) -> Scene:
    """The first frame of all: the upload is still to be opened."""
    d.settle()
    return Scene(d)


def described(d: Any) -> Scene:
    """A key frame with metadata to write."""
    scene = blocks(d)
    d.stream.put_fragment_metadata("place", "door", False, d.now)
    d.stream.put_fragment_metadata("room", "hall", True, d.now)
    return scene


def crowded(d: Any) -> Scene:
    """A view that is full of frames that were not sent."""
    scene = Scene(d)
    for index in range(30):
        scene.put(key=index % 5 == 0)
    return scene


def sent_crowd(d: Any) -> Scene:
    """A view that is full of frames that were sent and not acknowledged."""
    scene = Scene(d)
    for index in range(30):
        scene.put(key=index % 5 == 0)
        scene.take()
    return scene


def offline_crowd(d: Any) -> Scene:
    """A full view, the oldest fragment of which is stored: it makes room for the next frame."""
    scene = Scene(d)
    for index in range(15):
        scene.put(key=index % 5 == 0)
        if index == 4:
            scene.take()
            (timecode,) = scene.clusters[d.upload]
            ack = kvs.FragmentAck(kvs.AckType.PERSISTED, timecode)
            d.stream.receive_parsed_ack(d.upload, ack, d.now)
    assert d.stream._core.view.full
    return scene


def expiring(d: Any) -> Scene:
    """The token is about to expire."""
    scene = blocks(d)
    d.now += 59 * SECOND
    return scene


def refreshing(d: Any) -> Scene:
    """The client's own credentials have expired."""
    d.answers[kvs.GetSecurityToken] = [(200, kvs.AuthInfo(expiration=d.now + 60 * SECOND))]
    d.settle()
    d.now += 61 * SECOND
    return Scene(d)


def queued(d: Any) -> Scene:
    """Three frames that wait for one of the other track."""
    info = kvs.StreamInfo.audio_video("h264", "aac", name="both", nal_adaptation=0)
    d.stream = d.client.open_stream(info, d.now)
    d.settle()
    scene = Scene(d)
    for index in range(3):
        scene.put(key=index == 0)
    return scene


ORDERED = {"frame_order_mode": kvs.FrameOrderMode.DTS_ONE_MS_COMPENSATE_EOFR}
SCENES: dict[str, tuple[Callable[[Any], Scene], dict[str, Any], dict[str, Any]]] = {
    "block": (blocks, {}, {}),
    "key frame": (blocks, {}, {"key": True}),
    "first": (nothing, {}, {"key": True}),
    "skipped": (nothing, {}, {}),
    "metadata": (described, {}, {"key": True}),
    "full": (crowded, {"buffer_duration": 5 * SECOND, "frame_rate": 60}, {}),
    "full, key": (crowded, {"buffer_duration": 5 * SECOND, "frame_rate": 60}, {"key": True}),
    "full of sent": (sent_crowd, {"buffer_duration": 5 * SECOND, "frame_rate": 60}, {}),
    "rotation": (expiring, {}, {}),
    "rotation, key": (expiring, {}, {"key": True}),
    "credentials": (refreshing, {}, {"key": True}),
    "end": (described, {}, {"end": True}),
    "ordered": (blocks, ORDERED, {}),
    "ordered, key": (blocks, ORDERED, {"key": True}),
    "ordered, end": (described, ORDERED, {"end": True}),
    "two tracks": (queued, {}, {"track_id": 2}),
    "offline": (blocks, {"streaming_type": kvs.StreamingType.OFFLINE}, {"key": True}),
    "offline, full": (
        offline_crowd,
        {"streaming_type": kvs.StreamingType.OFFLINE, "buffer_duration": 3 * SECOND},
        {"key": True},
    ),
    "parameter sets": (
        blocks,
        {"nal_adaptation": 8 | 32},
        {"key": True, "data": b"\0\0\1" + LARGE + b"\0\0\1" + PPS + b"\0\0\1\x65"},
    ),
}


@pytest.mark.parametrize("what", SCENES)
def test_a_put_that_is_interrupted_at_any_line(desk: Desks, what: str) -> None:
    """Whole at once; then frames are put, sent and stored as ever, and the stream closes."""
    prepare, info, more = SCENES[what]
    line = 0
    while interrupt_at(line, desk(**info), prepare, more, rotating="rotation" in what):
        line += 1
    assert line > 15


def interrupt_at(
    line: int, d: Any, prepare: Callable[[Any], Scene], more: dict[str, Any], *, rotating: bool
) -> bool:
    """One try; whether the put had so many lines."""
    d.token_life = 60 * SECOND if rotating else d.token_life
    scene = prepare(d)
    before = d.stream.account()
    frame = scene.frame(**more)
    hit = interrupted(line, d.stream, frame, d.now)
    d.settle()
    whole(d)
    assert d.stream.account().accepted - before.accepted in (0, 1), line
    for index in range(12):
        scene.put(key=index % 5 == 1)
        whole(d)
    for _ in range(3):
        scene.read()
    d.now += 10 * SECOND
    scene.put(key=True)
    d.stream.stop(d.now)
    d.settle()
    for _ in range(6):
        scene.read()
    account = d.stream.account()
    assert account.held == 0, (line, account)
    assert d.stream.closed, (line, d.stream.state)
    told = sum(event.count for event in d.told(kvs.FrameDropped))
    skipped = sum(event.count for event in d.told(kvs.FrameSkipped))
    assert scene.number - len(scene.sent) <= told + skipped + hit, (line, account)
    return hit


def test_two_puts_that_are_interrupted_one_after_the_other(desk: Desks) -> None:
    """What the first was about is not taken for what the second is about: metadata waits on."""
    for line in range(1000):
        d = desk()
        scene = blocks(d)
        if not interrupted(line, d.stream, scene.frame(key=True), d.now):
            assert line > 50
            break
        d.settle()
        d.stream.put_fragment_metadata("place", "door", False, d.now)
        assert interrupted(5, d.stream, scene.frame(), d.now)
        d.settle()
        whole(d)
        scene.put(key=True)
        assert b"place" in d.stream._core.view.newest.header, line


def half_read(d: Any) -> Scene:
    """A backlog; of one frame the upload was given a part."""
    scene = Scene(d)
    for index in range(7):
        scene.put(key=index % 3 == 0)
    buffers, _status = d.stream.next_buffers(d.upload, 700, d.now)
    scene.parsers.setdefault(d.upload, MkvParser()).receive_data(b"".join(buffers))
    return scene


def unsent(d: Any) -> Scene:
    """Everything is sent, stored and read; the next fragment is not."""
    scene = blocks(d)
    scene.read()
    scene.put(key=True)
    return scene


def parked(d: Any) -> Scene:
    """A stream that never had a frame."""
    return nothing(d)


ENDS: dict[str, tuple[Callable[[Any], Scene], dict[str, Any]]] = {
    "half read": (half_read, {}),
    "unsent": (unsent, {}),
    "parked": (parked, {}),
    "new": (Scene, {}),
    "ordered": (half_read, ORDERED),
    "two tracks": (queued, {}),
    "full of sent": (sent_crowd, {"buffer_duration": 5 * SECOND, "frame_rate": 60}),
    "offline": (
        offline_crowd,
        {"streaming_type": kvs.StreamingType.OFFLINE, "buffer_duration": 3 * SECOND},
    ),
}


def closes(d: Any, scene: Scene) -> None:
    """A stream that was stopped ends, and every frame is in the books."""
    for _ in range(6):
        scene.read()
    assert d.stream.closed
    assert d.told(kvs.StreamClosed)
    account = d.stream.account()
    assert account.held == 0, account
    told = sum(event.count for event in d.told(kvs.FrameDropped))
    skipped = sum(event.count for event in d.told(kvs.FrameSkipped))
    assert scene.number - len(scene.sent) <= told + skipped, account


@pytest.mark.parametrize("what", ENDS)
@pytest.mark.parametrize("end", ["stop", "reset", "free"])
def test_an_end_that_is_interrupted_at_any_line(desk: Desks, what: str, end: str) -> None:
    """It may be called again, and is then as if it had not been interrupted."""
    prepare, info = ENDS[what]
    line, hit = 0, True
    while hit:
        d = desk(**info)
        scene = prepare(d)
        call = getattr(d.stream, end)
        hit = struck(line, d.stream, partial(call, d.now))
        d.settle()
        whole(d)
        call(d.now)
        d.settle()
        whole(d)
        if end == "reset":
            assert d.stream.account().held == 0, line
            for index in range(4):
                scene.put(key=index == 0)
            d.stream.stop(d.now)
            d.settle()
        closes(d, scene)
        line += 1
    assert line > 5


STORES: dict[str, Callable[[int, str], HoldingStore]] = {
    "arena": lambda _size, _folder: ArenaStore(1 << 20),
    "files": lambda size, folder: HoldingStore(size, [SpillFiles(folder)]),
}


def kept(store: HoldingStore) -> int:
    """How many payloads a store holds."""
    store.debug_check()
    if isinstance(store, ArenaStore):
        return len(store.arena._blocks)
    return len(list(Path(store._regions[0].directory).iterdir()))


# A file may be opened without there being anybody yet to close it.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize(
    ("what", "store", "stride"),
    [
        ("block", "arena", 1),
        ("block", "files", 1),
        ("full", "arena", 3),  # the same lines for each of five frames that give way
        ("offline, full", "arena", 1),
    ],
)
def test_an_interrupted_put_and_a_store_that_holds_the_payloads(
    desk: Desks, tmp_path: Path, what: str, store: str, stride: int
) -> None:
    """It holds what the view does, no more and no less, and takes the frames that follow."""
    prepare, info, more = SCENES[what]
    line, hit = 0, True
    while hit:
        d = desk(make_store=lambda size: STORES[store](size, str(tmp_path)), **info)
        scene = prepare(d)
        hit = interrupted(line, d.stream, scene.frame(**more), d.now)
        d.settle()
        assert kept(d.client.store) == len(d.stream._core.view), line
        whole(d)
        for index in range(12):
            scene.put(key=index % 5 == 1)
        assert kept(d.client.store) == len(d.stream._core.view), line
        d.client.store.close()
        line += stride


class Interrupting(ReferenceStore):
    """A store in which Ctrl-C comes when it is charged or given back, once `strikes` says so."""

    strikes = False

    def charge(self, size: int) -> bool:
        strikes, self.strikes = self.strikes, False
        if strikes:
            super().charge(size)
            raise KeyboardInterrupt
        return super().charge(size)

    def release(self, count: int) -> None:
        strikes, self.strikes = self.strikes, False
        if strikes:
            raise KeyboardInterrupt
        super().release(count)


@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize(
    "mode", [kvs.FrameOrderMode.PASS_THROUGH, kvs.FrameOrderMode.DTS_ONE_MS_COMPENSATE]
)
def test_a_put_that_is_interrupted_as_it_is_charged(
    desk: Desks, mode: kvs.FrameOrderMode, key: bool
) -> None:
    """The frame is not in the view: given back, or told as dropped if it had been queued."""
    d = desk(make_store=Interrupting, frame_order_mode=mode)
    for index in range(5):
        d.put(index)
    d.client.store.strikes = True
    with pytest.raises(KeyboardInterrupt):
        d.put(5, key=key)
    d.settle()
    whole(d)
    queued = mode is not kvs.FrameOrderMode.PASS_THROUGH
    told = sum(event.count for event in d.told(kvs.FrameDropped))
    assert d.stream.account() == (5 + queued, 0, told, 0, 5)
    assert told == queued
    for index in range(10, 15):
        d.put(index)
    assert d.stream.account().held == 10
    assert d.read()[0].count(b"data") >= 5
    whole(d)


@pytest.mark.parametrize("end", ["reset", "free"])
def test_an_end_that_is_interrupted_as_its_bytes_are_given_back(desk: Desks, end: str) -> None:
    """They are given back by the repair; calling it again drops nothing twice."""
    d = desk(make_store=Interrupting)
    for index in range(5):
        d.put(index)
    d.client.store.strikes = True
    with pytest.raises(KeyboardInterrupt):
        getattr(d.stream, end)(d.now)
    d.settle()
    whole(d)
    getattr(d.stream, end)(d.now)
    d.settle()
    whole(d)
    assert d.client.store.used_bytes == 0
    assert d.stream.account() == (5, 0, 5, 0, 0)
