"""Time limits for waiting and closing, and the errors for frames that were not stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kvsproducer import client as core
from kvsproducer.status import (
    InvalidConfiguration,
    InvalidFrame,
    InvalidMedia,
    KvsError,
    StatusCode,
    error_class,
    kvs_error,
    with_detail,
)

__all__ = [
    "CLOSE_LIMIT_S",
    "INTERRUPT_LIMIT_S",
    "closing_limit_s",
    "with_last_error",
    "interrupted_error",
    "loss_error",
    "no_space_error",
]

_S = StatusCode
CLOSE_LIMIT_S = 30.0  # how long leaving a `with` block waits for the last acks, by default
INTERRUPT_LIMIT_S = 10.0  # the same when the program is being ended (Ctrl-C, cancellation)


def closing_limit_s(kind: type[BaseException] | None, limit_s: float = CLOSE_LIMIT_S) -> float:
    """Return how many seconds leaving a `with` block may wait.

    kind: the type of the exception that leaves the block, or None. Ctrl-C and cancellation shorten
        the wait.
    limit_s: the limit for all other cases.
    """
    if kind is None or issubclass(kind, Exception):
        return limit_s
    return min(limit_s, INTERRUPT_LIMIT_S)


def with_last_error(error: KvsError, last_error: str) -> KvsError:
    """Return `error` with the message `last_error` added, unless `error` already contains it."""
    if not last_error or last_error in error.detail:
        return error
    return with_detail(error, f"{error.detail}; the last call: {last_error}", stream=error.stream)


def no_space_error(stream: str, last_error: str) -> KvsError:
    """Return the error for an offline `put_frame` that has waited too long for space."""
    detail = (
        "the buffer has no space for the frame, because the service stored nothing for too long"
    )
    return with_last_error(kvs_error(_S.OPERATION_TIMED_OUT, detail, stream=stream), last_error)


def interrupted_error(stream: str) -> KvsError:
    """Return the error for an offline `put_frame` whose stream was stopped while it waited."""
    return kvs_error(
        _S.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED,
        "the stream was stopped while the frame waited for space",
        stream=stream,
    )


def loss_error(
    stream: str,
    account: core.FrameAccount,
    failure: KvsError | None,
    drops: Mapping[str, int],
) -> KvsError | None:
    """Return the error to raise on leaving a `with` block, or None if all frames were stored.

    `account` and `drops` (how many frames were dropped, by reason) are those of a closed stream,
    which holds no frames. The error is the first of these that applies:

    - the stream's own failure, if it had one;
    - the error for the most frequent reason of drops, except closing: STORE_OUT_OF_MEMORY
      (overflow), the status of the ack or of the frame's error (refused, invalid, unreadable),
      STREAM_BEING_SHUTDOWN (reset), INVALID_OPERATION (interrupted),
      PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED (unconfirmed);
    - OPERATION_TIMED_OUT when the only reason is that the stream was closed;
    - STREAM_NOT_STARTED when frames were put and every one of them was skipped.
    """
    if not account.dropped:
        return _all_skipped(stream, account)
    why = ", ".join(f"{count} {reason}" for reason, count in drops.items())
    detail = (
        f"{account.persisted} of {account.accepted} accepted frames were stored, "
        f"{account.dropped} dropped ({why})"
    )
    if failure is not None:
        return with_detail(failure, f"{failure.detail}; {detail}", stream=stream)
    # The frames that a stream in trouble holds at its end say nothing about the trouble.
    closed = core.DropReason.CLOSED.value
    main = max(drops, key=lambda reason: (reason != closed, drops[reason]), default=closed)
    return _drop_error(stream, detail, main)


def _drop_error(stream: str, detail: str, main: str) -> KvsError:
    """Return the error for drops whose main reason is `main`."""
    reason, _, cause = main.partition(": ")
    default, action = _DROPS[core.DropReason(reason)]
    status = StatusCode[cause] if cause else default
    cls = error_class(status)
    if issubclass(cls, (InvalidMedia, InvalidConfiguration)):  # here it was met in a frame
        cls = InvalidFrame
    if cause:  # the catalogue's remedy is exact
        action = ""
    return cls(status, detail, stream=stream, action=action)


_DROPS: Final[Mapping[core.DropReason, tuple[StatusCode, str]]] = {
    core.DropReason.OVERFLOW: (
        _S.STORE_OUT_OF_MEMORY,
        "Put fewer or smaller frames, raise buffer_duration and StorageInfo.storage_size, or check"
        " the connection's speed. A stream of the type OFFLINE waits for space instead.",
    ),
    core.DropReason.UNCONFIRMED: (
        _S.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED,
        "The frames were sent and may be stored: list_fragments() shows it. Check the connection,"
        " or raise close_timeout, buffer_duration and StorageInfo.storage_size, so that frames are"
        " held until their ack arrives. Before reset(), call flush().",
    ),
    core.DropReason.REFUSED: (
        _S.ACK_ERR_UNKNOWN_ACK_ERROR,
        "The StreamErrorReported events say what the service objects to.",
    ),
    core.DropReason.INVALID: (
        _S.MKV_INVALID_FRAME_DATA,
        "Correct the frames: the StreamErrorReported events say what is wrong with each.",
    ),
    core.DropReason.UNREADABLE: (
        _S.READ_FILE_FAILED,
        "Check the disk of StorageInfo.root_directory, and that no other program writes there.",
    ),
    core.DropReason.RESET: (
        _S.STREAM_BEING_SHUTDOWN,
        "Call flush() before reset(), which drops what is not stored yet.",
    ),
    core.DropReason.CLOSED: (
        _S.OPERATION_TIMED_OUT,
        "Check the connection to the service: the detail has the last error, if there was one. If"
        " nothing is wrong, raise the producer's close_timeout, or the timeout of close().",
    ),
    core.DropReason.INTERRUPTED: (
        _S.INVALID_OPERATION,
        "Let signal handlers set a flag instead of raising an exception; the frames that the stream"
        " held are lost.",
    ),
}


def _all_skipped(stream: str, account: core.FrameAccount) -> KvsError | None:
    """Return the error for a stream that stored nothing because no fragment began, or None."""
    if account.accepted or not account.skipped:
        return None
    return kvs_error(
        _S.STREAM_NOT_STARTED,
        f"nothing was stored: all {account.skipped} frames were skipped, because a fragment begins"
        " with a key frame and none was accepted",
        stream=stream,
    )
