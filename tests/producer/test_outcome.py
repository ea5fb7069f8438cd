"""The errors for lost frames, and the time limits of closing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.client import DropReason, FrameAccount
from kvsproducer.producer.outcome import closing_limit_s, loss_error, with_last_error
from kvsproducer.status import KvsError, StatusCode, kvs_error

_S = StatusCode
CLOSED = DropReason.CLOSED.value


def test_no_error_if_everything_was_stored() -> None:
    """Also if the stream failed after that."""
    failure = kvs_error(StatusCode.DESCRIBE_STREAM_CALL_FAILED, "later")
    assert loss_error("door", FrameAccount(5, 5, 0, 3, 0), None, {}) is None
    assert loss_error("door", FrameAccount(5, 5, 0, 0, 0), failure, {}) is None


def loss(account: FrameAccount, drops: dict[str, int]) -> KvsError:
    error = loss_error("door", account, None, drops)
    assert error is not None
    assert error.stream == "door"
    assert f"{account.persisted} of {account.accepted} accepted frames were stored" in error.detail
    return error


DROPS: list[tuple[str, type[KvsError], StatusCode, str]] = [
    ("overflow", kvs.BufferFull, _S.STORE_OUT_OF_MEMORY, "raise buffer_duration"),
    (
        "unconfirmed",
        kvs.TimedOut,
        _S.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED,
        "may be stored: list_fragments()",
    ),
    ("refused", kvs.ServiceError, _S.ACK_ERR_UNKNOWN_ACK_ERROR, "StreamErrorReported"),
    (
        "refused: ACK_ERR_FRAMES_MISSING_FOR_TRACK",
        kvs.ServiceError,
        _S.ACK_ERR_FRAMES_MISSING_FOR_TRACK,
        "every declared track",
    ),
    (
        "refused: ACK_ERR_KMS_KEY_ACCESS_DENIED",
        kvs.NotAuthorized,
        _S.ACK_ERR_KMS_KEY_ACCESS_DENIED,
        "kms:GenerateDataKey",
    ),
    ("refused: ACK_ERR_STREAM_DELETED", kvs.StreamNotFound, _S.ACK_ERR_STREAM_DELETED, "deletes"),
    ("invalid", kvs.InvalidFrame, _S.MKV_INVALID_FRAME_DATA, "Correct the frames"),
    (
        "invalid: CONTENT_VIEW_INVALID_TIMESTAMP",
        kvs.InvalidFrame,
        _S.CONTENT_VIEW_INVALID_TIMESTAMP,
        "in the order of their dts",
    ),
    ("invalid: MKV_INVALID_AAC_CPD", kvs.InvalidFrame, _S.MKV_INVALID_AAC_CPD, "AudioSpecific"),
    ("invalid: STORE_OUT_OF_MEMORY", kvs.BufferFull, _S.STORE_OUT_OF_MEMORY, "storage_size"),
    ("unreadable", kvs.StorageError, _S.READ_FILE_FAILED, "root_directory"),
    (
        "unreadable: HEAP_FILE_HEAP_FILE_CORRUPT",
        kvs.StorageError,
        _S.HEAP_FILE_HEAP_FILE_CORRUPT,
        "Check the disk",
    ),
    ("reset", kvs.StreamClosed, _S.STREAM_BEING_SHUTDOWN, "flush()"),
    (CLOSED, kvs.TimedOut, _S.OPERATION_TIMED_OUT, "close_timeout"),
    ("interrupted", kvs.StreamClosed, _S.INVALID_OPERATION, "set a flag"),
]


def test_every_reason_is_in_the_table() -> None:
    assert {reason.partition(":")[0] for reason, *_ in DROPS} == {one.value for one in DropReason}


@pytest.mark.parametrize(
    ("reason", "cls", "status", "action"), DROPS, ids=[row[0] for row in DROPS]
)
def test_loss_fits_the_reason_of_the_drops(
    reason: str, cls: type[KvsError], status: StatusCode, action: str
) -> None:
    """Class, status and remedy fit; the text has the reason and the count."""
    error = loss(FrameAccount(5, 3, 2, 0, 0), {reason: 2})
    assert (type(error), error.status) == (cls, status)
    assert error.detail.endswith(f"2 dropped (2 {reason})")
    assert action in error.action
    assert error.action in str(with_last_error(error, "connection refused"))


def test_loss_fits_the_reason_of_most_drops() -> None:
    """But what was dropped at the end, because it was still held, says nothing about the cause."""
    drops = {"invalid: MKV_INVALID_FRAME_DATA": 1, "overflow": 3, CLOSED: 11}
    error = loss(FrameAccount(20, 5, 15, 0, 0), drops)
    assert type(error) is kvs.BufferFull
    assert (
        f"15 dropped (1 invalid: MKV_INVALID_FRAME_DATA, 3 overflow, 11 {CLOSED})" in error.detail
    )


def test_a_stream_whose_frames_were_all_skipped_is_a_loss() -> None:
    """Nothing was stored: the error says why, and what to do."""
    error = loss_error("door", FrameAccount(0, 0, 0, 50, 0), None, {})
    assert error is not None
    assert error.status is StatusCode.STREAM_NOT_STARTED
    assert "all 50 frames were skipped" in str(error)
    assert "key_frame=True" in str(error)
    assert loss_error("door", FrameAccount(0, 0, 0, 0, 0), None, {}) is None


def test_failure_gives_the_status() -> None:
    """The error says what stopped the stream, and what was lost by it."""
    failure = kvs_error(StatusCode.STREAM_IS_BEING_DELETED_ERROR, "wait until it is gone")
    error = loss_error("door", FrameAccount(5, 0, 5, 0, 0), failure, {CLOSED: 5})
    assert error is not None
    assert error.status is StatusCode.STREAM_IS_BEING_DELETED_ERROR
    assert "wait until it is gone; 0 of 5" in str(error)


def test_ending_the_program_waits_less() -> None:
    """Ctrl-C and cancellation have a shorter time limit than an exception."""
    assert closing_limit_s(KeyboardInterrupt) < closing_limit_s(None)
    assert closing_limit_s(ValueError) == closing_limit_s(None) == 30
    assert closing_limit_s(None, 3) == closing_limit_s(KeyboardInterrupt, 3) == 3


SMALL = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
UNREACHABLE = "http://127.0.0.1:9"  # nothing listens there


def camera(count: int) -> list[kvs.Frame]:
    start = kvs.now()
    return [
        kvs.Frame(bytes(30_000), start + number * 400_000, key_frame=number % 5 == 0)
        for number in range(count)
    ]


def leave_block(count: int) -> None:
    with kvs.Producer(endpoint_url=UNREACHABLE, device_info=SMALL, close_timeout=0.5) as producer:
        with producer.open_stream("door", INFO) as stream:
            for frame in camera(count):
                stream.put_frame(frame)


async def leave_async_block(count: int) -> None:
    async with aio.Producer(
        endpoint_url=UNREACHABLE, device_info=SMALL, close_timeout=0.5
    ) as producer:
        async with producer.open_stream("door", INFO) as stream:
            for frame in camera(count):
                await stream.put_frame(frame)


INFO = kvs.StreamInfo.video("h264", nal_adaptation=kvs.NalAdaptation.NONE)
BLOCKS = pytest.mark.parametrize(
    "leave", [leave_block, lambda count: asyncio.run(leave_async_block(count))], ids=["kvs", "aio"]
)


@BLOCKS
@pytest.mark.filterwarnings("ignore:stream 'door'")
def test_leaving_a_block_after_an_overflow(leave: Callable[[int], None]) -> None:
    """A live stream without a connection drops its oldest frames."""
    with pytest.raises(kvs.BufferFull, match=rf"dropped \(\d+ overflow, \d+ {CLOSED}\)") as caught:
        leave(60)
    assert "the last call: " in caught.value.detail
    assert "buffer_duration" in caught.value.action


@BLOCKS
@pytest.mark.filterwarnings("ignore:stream 'door'")
def test_leaving_a_block_before_frames_were_sent(leave: Callable[[int], None]) -> None:
    with pytest.raises(kvs.TimedOut, match=f"5 dropped .5 {CLOSED}.; the last call: ") as caught:
        leave(5)
    assert caught.value.status is _S.OPERATION_TIMED_OUT
    assert "127.0.0.1:9" in caught.value.detail
    assert "close_timeout" in caught.value.action
