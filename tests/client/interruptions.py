"""Ctrl-C at any line of a call: a trace that raises it, scenes to interrupt, and what must hold."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from kvsproducer import client as kvs
from kvsproducer.heap import ReferenceStore
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
