"""What closing a stream tells: how its frames fared, and the error when some were not stored."""

from __future__ import annotations

from datetime import timedelta

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_SECOND, parse_duration
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["loss_error", "timeout_seconds"]


def loss_error(
    stream: str, account: core.FrameAccount, failure: KvsError | None
) -> KvsError | None:
    """The error to raise on leaving a `with` block, None when every accepted frame was stored.

    The stream's own fatal failure if it had one; else OPERATION_TIMED_OUT while frames are still
    held, or PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED when frames were given up.
    """
    if account.held == 0 and account.dropped == 0:
        return None
    told = (
        f"{account.persisted} of {account.accepted} accepted frames were stored, "
        f"{account.dropped} dropped, {account.held} still held"
    )
    if failure is not None:
        return kvs_error(failure.status, f"{failure.detail}; {told}", stream=stream)
    status = (
        StatusCode.OPERATION_TIMED_OUT
        if account.held
        else StatusCode.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED
    )
    return kvs_error(status, told, stream=stream)


def timeout_seconds(timeout: float | timedelta | str) -> float:
    """A time-out at the door: seconds as elsewhere in Python, a `timedelta`, or ISO 8601 text."""
    if isinstance(timeout, str):
        return parse_duration(timeout) / TICKS_PER_SECOND
    return timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
