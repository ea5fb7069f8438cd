"""Where sending goes on after a lost connection.

Facts: AWS's rollback: walk back from the next item to send, to the first fragment start that is
the replay duration behind, no farther than the last RECEIVED fragment when the host is known to be
alive (that one, if it was sent whole, is then not sent again), to the oldest item when streaming
offline.

Unlike in AWS's client, RECEIVED says nothing about an older session: while uploads overlap, another
one carries that, and may have been lost with it. Its fragments count as received by their own acks.

Unlike AWS's client, which goes on with the next fragment when nothing is to be replayed, a fragment
that was cut is always sent again from its start, also when nothing is to be replayed: what is not
is neither decodable nor stored. A fragment is cut when its end was not sent.
"""

from __future__ import annotations

from kvsproducer.client.buffer.buffer import NEVER, Buffer
from kvsproducer.client.buffer.view import (
    END_OF_FRAGMENT,
    FRAGMENT_START,
    PERSISTED,
    RECEIVED,
    SKIP,
)
from kvsproducer.client.states import host_is_alive

__all__ = ["anything_to_send", "resume_index"]


def anything_to_send(buffer: Buffer) -> bool:
    """Whether an upload would have media to send now."""
    return resume_index(buffer) < buffer.view.head


def resume_index(buffer: Buffer) -> int:
    """The index of the item from which the next upload goes on; `head` for none.

    It is never within fragments of which everything is settled: what was stored is not sent again.
    """
    view = buffer.view
    if buffer.lost is None:
        return skip_refused(buffer, view.current)
    index = view.tail if buffer.offline else _replay_start(buffer, buffer.lost)
    if index == view.head and _left_open(buffer):
        index -= 1
    if buffer.waits_for_acks:
        index = max(index, min(buffer.ledger.settled, view.head))
    if index < view.head:
        index = view.start_of(index)
    return skip_refused(buffer, index)


def _left_open(buffer: Buffer) -> bool:
    """Whether everything was sent but the end of the newest fragment, and the service lacks it."""
    view = buffer.view
    if view.head == view.tail or buffer.received_end >= view.head:
        return False
    return not (buffer.ended or view[view.head - 1].flags & END_OF_FRAGMENT)


def skip_refused(buffer: Buffer, index: int) -> int:
    """The first item from `index` on that the service has not refused."""
    view = buffer.view
    while index < view.head and view[index].flags & SKIP:
        index += 1
    return index


def _replay_start(buffer: Buffer, result: int) -> int:
    view, duration = buffer.view, buffer.replay_duration
    current = buffer.sent
    if not duration or current == view.tail:
        return current
    restricted = buffer.waits_for_acks and host_is_alive(result)
    start = index = current
    received = NEVER  # a session of which the service has everything up to here
    while index > view.tail:
        index = view.start_of(index - 1)
        item, session = view[index], buffer.session_number(index)
        end = min(current, buffer.received_end)
        whole = item.flags & FRAGMENT_START and view.next_start(index + 1) <= end
        if restricted and whole and item.flags & (RECEIVED | PERSISTED):
            received = session
        if session != received:
            start = index
        # Counted from the item to send next; once everything was sent, all that is held is sent.
        if current < view.head and view.media_between(index, current) >= duration:
            break
    return start
