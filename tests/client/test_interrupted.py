"""Ctrl-C in the middle of a put, at every line of it: the stream is whole and goes on.

Python raises KeyboardInterrupt between any two lines of the main thread. Here a trace raises it at
the first line that a call runs, then anew at the second, and so on to the last. Each time the
books, the view and the store must agree, what was accepted must be stored or told as dropped, and
the service must be sent Matroska that it can read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.client.interruptions import (
    LARGE,
    ORDERED,
    PPS,
    SECOND,
    Desks,
    Interrupting,
    Scene,
    blocks,
    crowded,
    described,
    expiring,
    interrupted,
    nothing,
    offline_crowd,
    queued,
    refreshing,
    sent_crowd,
    whole,
)

from kvsproducer import client as kvs
from kvsproducer.heap import ArenaStore, HoldingStore
from kvsproducer.heap.files import SpillFiles

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
