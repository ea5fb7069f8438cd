"""Ctrl-C in the middle of `stop`, `reset` or `free`, at every line: it may be called again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.client.interruptions import (
    ORDERED,
    SECOND,
    Desks,
    Interrupting,
    Scene,
    blocks,
    nothing,
    offline_crowd,
    queued,
    sent_crowd,
    struck,
    whole,
)

from kvsproducer import client as kvs
from kvsproducer.mkv import MkvParser


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


ENDS: dict[str, tuple[Callable[[Any], Scene], dict[str, Any]]] = {
    "half read": (half_read, {}),
    "unsent": (unsent, {}),
    "parked": (nothing, {}),
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
        active = {upload.number for upload in d.stream._core.uploads.active()}
        hit = struck(line, d.stream, partial(call, d.now))
        d.settle()
        whole(d)
        call(d.now)
        d.settle()
        whole(d)
        told = {effect.upload for effect in d.effects if type(effect) is kvs.UploadAborted}
        assert end == "stop" or told >= active, "a connection that nobody closes"
        if end == "reset":
            assert d.stream.account().held == 0, line
            for index in range(4):
                scene.put(key=index == 0)
            d.stream.stop(d.now)
            d.settle()
        closes(d, scene)
        line += 1
    assert line > 5


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
