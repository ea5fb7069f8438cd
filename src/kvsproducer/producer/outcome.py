"""How waiting and closing end: how frames fared, and the errors that say so."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kvsproducer import client as core
from kvsproducer.status import KvsError, StatusCode, kvs_error, with_detail

__all__ = [
    "CLOSE_LIMIT_S",
    "INTERRUPT_LIMIT_S",
    "closing_limit_s",
    "explained",
    "interrupted_error",
    "loss_error",
    "no_space_error",
]

CLOSE_LIMIT_S = 30.0  # how long leaving a `with` block waits for the last acks, by default
INTERRUPT_LIMIT_S = 10.0  # the same when the program is being ended (Ctrl-C, cancellation)


def closing_limit_s(kind: type[BaseException] | None, limit_s: float = CLOSE_LIMIT_S) -> float:
    """How long leaving a `with` block may wait, given the kind of exception that leaves it.

    `limit_s` bounds it, in seconds.
    """
    if kind is None or issubclass(kind, Exception):
        return limit_s
    return min(limit_s, INTERRUPT_LIMIT_S)


def explained(error: KvsError, last_error: str) -> KvsError:
    """Return the error with the message of the last failed call added, unless it has it."""
    if not last_error or last_error in error.detail:
        return error
    return with_detail(error, f"{error.detail}; the last call: {last_error}", stream=error.stream)


def no_space_error(stream: str, last_error: str) -> KvsError:
    """What an offline `put_frame` raises that has waited too long; see `explained`."""
    told = "no space in the buffer: the service stored nothing for too long"
    return explained(kvs_error(StatusCode.OPERATION_TIMED_OUT, told, stream=stream), last_error)


def interrupted_error(stream: str) -> KvsError:
    """What an offline `put_frame` raises whose stream is stopped while it waits."""
    return kvs_error(
        StatusCode.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED,
        "the stream was stopped while the frame waited for space",
        stream=stream,
    )


def loss_error(
    stream: str,
    account: core.FrameAccount,
    failure: KvsError | None,
    drops: Mapping[str, int] = MappingProxyType({}),
) -> KvsError | None:
    """Return the error to raise on leaving a `with` block, None when everything was stored.

    `drops` says how many frames were dropped for which reason.

    The stream's own fatal failure if it had one; else OPERATION_TIMED_OUT while frames are still
    held, PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED when frames were dropped, or STREAM_NOT_STARTED
    when frames were put and every one of them was skipped.
    """
    if account.held == 0 and account.dropped == 0:
        return _all_skipped(stream, account)
    why = ", ".join(f"{count} {reason}" for reason, count in drops.items() if account.dropped)
    told = (
        f"{account.persisted} of {account.accepted} accepted frames were stored, "
        f"{account.dropped} dropped{why and f' ({why})'}, {account.held} still held"
    )
    if failure is not None:
        return with_detail(failure, f"{failure.detail}; {told}", stream=stream)
    status = (
        StatusCode.OPERATION_TIMED_OUT
        if account.held
        else StatusCode.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED
    )
    return kvs_error(status, told, stream=stream)


def _all_skipped(stream: str, account: core.FrameAccount) -> KvsError | None:
    """The error for a stream that stored nothing since no fragment ever began, or None."""
    if account.accepted or not account.skipped:
        return None
    return kvs_error(
        StatusCode.STREAM_NOT_STARTED,
        f"nothing was stored: all {account.skipped} frames were skipped, since a fragment begins"
        " with a key frame and none was accepted. Put key frames with Frame(..., key_frame=True)",
        stream=stream,
    )
