"""Uploads of one stream: their order, who reads, and how one hands over to the next."""

from __future__ import annotations

import pytest

from kvsproducer.client.buffer.view import BUFFERING, PERSISTED, RECEIVED
from kvsproducer.client.session import Upload, Uploads
from kvsproducer.client.states import UploadState
from kvsproducer.limits import MIN_UPLOAD_LIFE

READY, STREAMING = UploadState.READY, UploadState.STREAMING
AWAITING_ACK, TERMINATED = UploadState.AWAITING_ACK, UploadState.TERMINATED


def opened(count: int) -> tuple[Uploads, list[Upload]]:
    uploads = Uploads()
    made = [uploads.add(number, 1000 + number) for number in range(count)]
    return uploads, made


def test_a_new_upload_is_announced_and_reads_nothing() -> None:
    """It has an opening time and no media; its call was not answered."""
    uploads, (upload,) = opened(1)
    assert (upload.state, upload.opened_at, upload.used) == (UploadState.NEW, 1000, False)
    assert upload.active
    assert not upload.reading
    assert uploads.reader is None
    assert uploads.newest_number == 0


def test_the_oldest_with_something_to_say_is_the_reader() -> None:
    """Whoever is ready first; an older one that becomes ready goes before it."""
    uploads, (old, new) = opened(2)
    uploads.set_state(new, READY)
    assert uploads.reader is new
    uploads.set_state(old, READY)
    assert uploads.reader is old
    assert [upload.number for upload in uploads] == [0, 1]


def test_the_reader_hands_over_when_all_is_said() -> None:
    """At its end-of-stream tag, not before; waiting for acks it is still active."""
    uploads, (old, new) = opened(2)
    uploads.set_state(old, STREAMING)
    uploads.set_state(new, READY)
    uploads.set_state(old, UploadState.TERMINATING)
    assert uploads.reader is old
    uploads.set_state(old, AWAITING_ACK)
    assert uploads.reader is new
    assert uploads.active() == [old, new]
    assert uploads.active(besides=old) == [new]
    uploads.remove(new)
    assert uploads.reader is None


def test_an_older_upload_is_unfinished_until_it_is_over() -> None:
    """Only when it was given media: an upload that never began holds nobody up."""
    uploads, (unused, old, new) = opened(3)
    assert not uploads.older_unfinished(new)
    old.first_index = 0
    assert uploads.older_unfinished(new)
    assert not uploads.older_unfinished(old)
    uploads.set_state(old, TERMINATED)
    assert not uploads.older_unfinished(new)
    assert unused.active


def test_uploads_that_were_given_up_are_forgotten_in_the_end() -> None:
    """The last four are remembered, for the shell may still ask; active ones always are."""
    uploads, (working, *others) = opened(8)
    for upload in others:
        uploads.set_state(upload, TERMINATED)
    uploads.add(8, 0)
    assert [upload.number for upload in uploads] == [0, 4, 5, 6, 7, 8]
    assert uploads.find(3) is None
    assert uploads.find(4) is others[3]
    assert uploads.find(0) is working


@pytest.mark.parametrize(
    ("life", "acks", "used", "waits_for_acks", "failed"),
    [
        (0, 0, False, True, True),
        (MIN_UPLOAD_LIFE - 1, 0, True, True, True),
        (MIN_UPLOAD_LIFE - 1, BUFFERING, True, True, True),
        (MIN_UPLOAD_LIFE - 1, 0, True, False, True),
        (0, RECEIVED, True, True, False),
        (0, PERSISTED, True, True, False),
        (MIN_UPLOAD_LIFE, 0, True, True, True),
        (MIN_UPLOAD_LIFE, BUFFERING, True, True, False),
        (MIN_UPLOAD_LIFE, 0, False, True, False),
        (MIN_UPLOAD_LIFE, 0, True, False, False),
    ],
)
def test_success_without_acks_is_a_failure(
    life: int, acks: int, used: bool, waits_for_acks: bool, failed: bool
) -> None:
    """A short upload must have had media stored, a long one that was used some ack."""
    _, (upload,) = opened(1)
    upload.first_index = 0 if used else None
    if acks:
        upload.acknowledge(acks)
    now = upload.opened_at + life
    assert upload.failed_despite_success(now, waits_for_acks=waits_for_acks) is failed
