"""The buffer of a stream: items, accounts and bytes change together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.client.conftest import filled

from kvsproducer.client.buffer.view import FRAGMENT_START, PERSISTED, RECEIVED, STREAM_START

SECOND = 10_000_000
EBML = bytes.fromhex("1a45dfa3")
Desks = Callable[..., Any]


def test_evicted_items_return_their_bytes(desk: Desks) -> None:
    """All bytes are returned; an empty view has nothing to evict."""
    d, core = filled(desk)
    for left in range(11, -1, -1):
        assert core.buffer.evict()
        assert len(core.buffer.view) == left
    assert not core.buffer.evict()
    assert d.client.store.used_bytes == 0
    assert d.stream.account() == (12, 0, 12, 0, 0)


def test_the_session_begins_with_the_next_fragment_when_its_start_is_evicted(desk: Desks) -> None:
    """The first item of that fragment gets the stream header, and is charged for it."""
    d, core = filled(desk)
    before = core.buffer.view[5].charge
    assert not core.buffer.view[5].flags & STREAM_START
    core.buffer.evict()
    item = core.buffer.view[5]
    assert item.flags & STREAM_START
    assert item.header.startswith(EBML)
    assert item.charge == before + item.prefix_length > before
    d.settle()
    while core.buffer.evict():
        pass
    assert d.client.store.used_bytes == 0
    assert core.reset_on_key


def test_adding_and_removing_a_stream_header_leaves_no_change(desk: Desks) -> None:
    """Header, length, charge and the store are as before; only fragments can begin a session."""
    _, core = filled(desk)
    item, view = core.buffer.view[5], core.buffer.view

    def state() -> tuple[object, ...]:
        used = core.buffer.store.used_bytes
        return item.header, item.length, item.charge, item.flags, view.size_bytes, used

    before = state()
    core.buffer.add_stream_header(item)
    assert state() != before
    core.buffer.add_stream_header(item)  # it has one already
    core.buffer.strip_stream_header(item)
    assert state() == before
    with pytest.raises(AssertionError):
        core.buffer.add_stream_header(view[6])
    assert before[3] == FRAGMENT_START


def test_an_item_on_the_wire_keeps_its_bytes(desk: Desks) -> None:
    """They are released when it leaves the wire, because its buffers are still being sent."""
    d, core = filled(desk, 1)
    d.read(limit=1)
    used = d.client.store.used_bytes
    core.buffer.evict()
    assert d.client.store.used_bytes == used
    core.buffer.leave_wire()
    assert d.client.store.used_bytes == 0


@pytest.mark.parametrize(("hours", "flags"), [(0, PERSISTED | RECEIVED), (2, PERSISTED)])
def test_which_acks_are_final(desk: Desks, hours: int, flags: int) -> None:
    """RECEIVED is final in a stream without retention."""
    _, core = filled(desk, retention=hours * 3600)
    assert core.buffer.final_flags == flags


def test_each_item_knows_the_start_of_its_session(desk: Desks) -> None:
    """A new session changes the base of relative timecodes for later items only."""
    d, core = filled(desk, absolute_fragment_times=False)
    core.refuse_until_key(new_session=True)
    d.put(12)
    d.put(15)
    d.put(16)
    assert [core.buffer.session_start(index) - d.now for index in (0, 11, 12, 13)] == [
        0,
        0,
        3 * SECOND,
        3 * SECOND,
    ]
    assert d.stream.account().skipped == 1
