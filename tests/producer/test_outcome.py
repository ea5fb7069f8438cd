"""How closing ends: the error of a loss, and how long an exit may take."""

from __future__ import annotations

import pytest

from kvsproducer.client import FrameAccount
from kvsproducer.producer.outcome import closing_limit_s, loss_error
from kvsproducer.status import StatusCode, kvs_error


def test_nothing_lost_is_no_error() -> None:
    """Not even when the stream failed after everything was stored."""
    failure = kvs_error(StatusCode.DESCRIBE_STREAM_CALL_FAILED, "later")
    assert loss_error("door", FrameAccount(5, 5, 0, 3, 0), None) is None
    assert loss_error("door", FrameAccount(5, 5, 0, 0, 0), failure) is None


@pytest.mark.parametrize(
    ("account", "status"),
    [
        (FrameAccount(5, 3, 0, 0, 2), StatusCode.OPERATION_TIMED_OUT),
        (FrameAccount(5, 3, 2, 0, 0), StatusCode.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED),
        (FrameAccount(5, 3, 1, 0, 1), StatusCode.OPERATION_TIMED_OUT),
    ],
)
def test_loss_says_how_many(account: FrameAccount, status: StatusCode) -> None:
    """Held frames are a matter of time, dropped ones are gone."""
    error = loss_error("door", account, None)
    assert error is not None
    assert error.status is status
    assert "3 of 5 accepted frames were stored" in str(error)
    assert "door" in str(error)


def test_loss_names_the_reasons_of_drops() -> None:
    """What is still held has none."""
    drops = {"overflow": 2, "refused by the service: ACK_ERR_FRAMES_MISSING_FOR_TRACK": 1}
    error = loss_error("door", FrameAccount(9, 5, 3, 0, 1), None, drops)
    assert error is not None
    assert (
        "3 dropped (2 overflow, 1 refused by the service: ACK_ERR_FRAMES_MISSING_FOR_TRACK),"
        " 1 still held" in error.detail
    )
    error = loss_error("door", FrameAccount(9, 5, 0, 0, 4), None, {})
    assert error is not None
    assert "0 dropped, 4 still held" in error.detail


def test_a_stream_whose_frames_were_all_skipped_is_a_loss() -> None:
    """Nothing was stored: the error says why, and what to do."""
    error = loss_error("door", FrameAccount(0, 0, 0, 50, 0), None)
    assert error is not None
    assert error.status is StatusCode.STREAM_NOT_STARTED
    assert "all 50 frames were skipped" in str(error)
    assert "key_frame=True" in str(error)
    assert loss_error("door", FrameAccount(0, 0, 0, 0, 0), None) is None


def test_failure_gives_the_status() -> None:
    """What stopped the stream is told with what it cost."""
    failure = kvs_error(StatusCode.STREAM_IS_BEING_DELETED_ERROR, "wait until it is gone")
    error = loss_error("door", FrameAccount(5, 0, 0, 0, 5), failure)
    assert error is not None
    assert error.status is StatusCode.STREAM_IS_BEING_DELETED_ERROR
    assert "wait until it is gone; 0 of 5" in str(error)


def test_ending_the_program_waits_less() -> None:
    """Ctrl-C and cancellation are in a hurry, an exception is not."""
    assert closing_limit_s(KeyboardInterrupt) < closing_limit_s(None)
    assert closing_limit_s(ValueError) == closing_limit_s(None) == 30
    assert closing_limit_s(None, 3) == closing_limit_s(KeyboardInterrupt, 3) == 3
