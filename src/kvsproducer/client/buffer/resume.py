"""Finds the item from which sending continues after a lost connection.

Source: AWS's rollback. It goes back from the next item to send to the first fragment start that is
at least the replay duration earlier. If the host is known to be alive, it goes back no farther than
the last fragment with a RECEIVED ack. If that fragment was sent completely, it is not sent again.
In an offline stream, it goes back to the oldest item.

Unlike in AWS's client, a RECEIVED ack says nothing about other sessions. While uploads overlap, an
older session is carried by another upload, which may be lost too. So the fragments of the older
session count as received only if they have acks of their own.

A fragment whose end was not sent is always sent again from its start, even if the replay duration
is 0. (AWS's client continues with the next fragment instead. The cut fragment is then neither
decodable nor stored.)
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
    """Return whether an upload would have media to send now."""
    return resume_index(buffer) < buffer.view.head


def resume_index(buffer: Buffer) -> int:
    """Return the index of the item at which the next upload begins, or `head` if there is none.

    Stored media is not sent again: the index is never within fragments that are completely settled.
    """
    view = buffer.view
    if buffer.lost_result is None:
        return skip_refused(buffer, view.current)
    index = view.tail if buffer.offline else _replay_start(buffer, buffer.lost_result)
    if index == view.head and _left_open(buffer):
        index -= 1
    if buffer.waits_for_acks:
        index = max(index, min(buffer.ledger.settled, view.head))
    if index < view.head:
        index = view.start_of(index)
    return skip_refused(buffer, index)


def _left_open(buffer: Buffer) -> bool:
    """Return whether the newest fragment was sent without its end and the service lacks it."""
    view = buffer.view
    if view.head == view.tail or buffer.received_end >= view.head:
        return False
    return not (buffer.session_ended or view[view.head - 1].flags & END_OF_FRAGMENT)


def skip_refused(buffer: Buffer, index: int) -> int:
    """Return the index of the first item at or after `index` that was not refused."""
    view = buffer.view
    while index < view.head and view[index].flags & SKIP:
        index += 1
    return index


def _replay_start(buffer: Buffer, result: int) -> int:
    view, duration = buffer.view, buffer.replay_duration
    current = buffer.sent_end
    if not duration or current == view.tail:
        return current
    restricted = buffer.waits_for_acks and host_is_alive(result)
    start = index = current
    received = NEVER  # the session of which the service has everything up to here
    while index > view.tail:
        index = view.start_of(index - 1)
        item, session = view[index], buffer.session_number(index)
        end = min(current, buffer.received_end)
        whole = item.flags & FRAGMENT_START and view.next_start(index + 1) <= end
        if restricted and whole and item.flags & (RECEIVED | PERSISTED):
            received = session
        if session != received:
            start = index
        # Counted from the next item to send. If everything was sent, all held media is sent again.
        if current < view.head and view.media_between(index, current) >= duration:
            break
    return start
