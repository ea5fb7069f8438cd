"""The accounts of closed streams are added, and memory stays bounded."""

from __future__ import annotations

from kvsproducer.client import FrameAccount
from kvsproducer.producer.ended import REMEMBERED, EndedStreams
from kvsproducer.status import StatusCode, kvs_error


def test_accounts_of_a_name_add_up() -> None:
    """A stream may be opened again under its name."""
    ended = EndedStreams()
    ended.add("door", FrameAccount(5, 4, 1, 2, 0), None)
    ended.add("door", FrameAccount(3, 2, 1, 0, 0), None)
    assert ended.accounts() == {"door": FrameAccount(8, 6, 2, 2, 0)}


def test_skipping_everything_is_a_loss_after_an_earlier_success() -> None:
    """The sum of the accounts alone would hide it."""
    ended = EndedStreams()
    ended.add("door", FrameAccount(5, 5, 0, 0, 0), None)
    ended.add("door", FrameAccount(0, 0, 0, 9, 0), None)
    ended.add("door", FrameAccount(5, 5, 0, 0, 0), None)
    loss = ended.loss()
    assert loss is not None
    assert loss.status is StatusCode.STREAM_NOT_STARTED
    assert "all 9 frames were skipped" in loss.detail


def test_reasons_of_drops_add_up() -> None:
    ended = EndedStreams()
    ended.add("door", FrameAccount(5, 3, 2, 0, 0), None, "", {"overflow": 2})
    ended.add("door", FrameAccount(5, 4, 1, 0, 0), None, "", {"overflow": 1})
    loss = ended.loss()
    assert loss is not None
    assert loss.status is StatusCode.STORE_OUT_OF_MEMORY
    assert "7 of 10 accepted frames were stored, 3 dropped (3 overflow)" in loss.detail


def test_the_loss_names_its_cause() -> None:
    ended = EndedStreams()
    ended.add("fine", FrameAccount(5, 5, 0, 0, 0), None)
    assert ended.loss() is None
    ended.add("door", FrameAccount(5, 0, 5, 0, 0), kvs_error(StatusCode.INVALID_AUTH_LEN, "long"))
    loss = ended.loss()
    assert loss is not None
    assert (loss.status, loss.stream) == (StatusCode.INVALID_AUTH_LEN, "door")


def test_the_oldest_name_is_forgotten() -> None:
    ended = EndedStreams()
    for number in range(REMEMBERED + 3):
        ended.add(f"s{number}", FrameAccount(1, 0, 1, 0, 0), kvs_error(StatusCode.INVALID_ARG, ""))
        ended.add("s3", FrameAccount(1, 1, 0, 0, 0), None)
    assert len(ended.accounts()) == REMEMBERED
    assert "s3" in ended.accounts()
    assert "s0" not in ended.accounts()


def test_loss_names_the_last_error() -> None:
    """The last error, a missing answer, is the cause of the loss."""
    ended = EndedStreams()
    drops = {"unconfirmed": 5}
    ended.add("door", FrameAccount(5, 0, 5, 0, 0), None, "the service has not answered", drops)
    loss = ended.loss()
    assert loss is not None
    assert "(5 unconfirmed); the last call: the service has not answered" in loss.detail
    assert ended.last_error("door") == "the service has not answered"
    assert ended.last_error("other") == ""
