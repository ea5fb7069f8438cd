"""Uploads of one stream: their order, the current reader, and how it changes."""

from __future__ import annotations

import pytest

from kvsproducer.client.buffer.view import BUFFERING, PERSISTED, RECEIVED
from kvsproducer.client.session import Upload, Uploads
from kvsproducer.client.states import UploadState
from kvsproducer.limits import MIN_UPLOAD_LIFE

READY, STREAMING = UploadState.READY, UploadState.STREAMING
AWAITING_ACK, TERMINATED = UploadState.AWAITING_ACK, UploadState.TERMINATED


def add_uploads(count: int) -> tuple[Uploads, list[Upload]]:
    uploads = Uploads()
    made = [uploads.add(number, 1000 + number) for number in range(count)]
    return uploads, made


def test_a_new_upload_is_listed_and_reads_nothing() -> None:
    """It has an opening time and no media, because its call was not answered."""
    uploads, (upload,) = add_uploads(1)
    assert (upload.state, upload.opened_at, upload.used) == (UploadState.NEW, 1000, False)
    assert upload.active
    assert not upload.reading
    assert uploads.reader is None
    assert uploads.newest_number == 0


def test_the_oldest_upload_with_bytes_to_send_is_the_reader() -> None:
    """If an older upload becomes ready later, it replaces the newer one."""
    uploads, (old, new) = add_uploads(2)
    uploads.set_state(new, READY)
    assert uploads.reader is new
    uploads.set_state(old, READY)
    assert uploads.reader is old
    assert [upload.number for upload in uploads] == [0, 1]


def test_the_reader_changes_when_all_its_bytes_were_sent() -> None:
    """That is after its end-of-stream tag. While it waits for acks, it is still active."""
    uploads, (old, new) = add_uploads(2)
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
    """This applies only to an upload that got media."""
    uploads, (unused, old, new) = add_uploads(3)
    assert not uploads.older_unfinished(new)
    old.first_index = 0
    assert uploads.older_unfinished(new)
    assert not uploads.older_unfinished(old)
    uploads.set_state(old, TERMINATED)
    assert not uploads.older_unfinished(new)
    assert unused.active


def test_old_aborted_uploads_are_removed() -> None:
    """The last four are kept, because the shell may still ask for them, and all active ones."""
    uploads, (working, *others) = add_uploads(8)
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
    """A short upload must have had media stored; a long one with media must have had an ack."""
    _, (upload,) = add_uploads(1)
    upload.first_index = 0 if used else None
    if acks:
        upload.acknowledge(acks)
    now = upload.opened_at + life
    assert upload.failed_despite_success(now, waits_for_acks=waits_for_acks) is failed
