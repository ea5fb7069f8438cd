"""Streaming tokens: the limits of their life, and when they are replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.effects import AuthInfo, AuthType
from kvsproducer.client.streaming_token import rotation_time, usable_token
from kvsproducer.limits import MAX_AUTH_LEN_BYTES
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
MINUTE = 60 * SECOND
NOW = 17_000_000_000_000_000


def test_a_token_must_be_valid_for_thirty_seconds() -> None:
    """A tick less is too short."""
    token = AuthInfo(expiration=NOW + 30 * SECOND)
    assert usable_token(token, NOW) is token
    with pytest.raises(KvsError) as raised:
        usable_token(token, NOW + 1)
    assert raised.value.status is StatusCode.INVALID_TOKEN_EXPIRATION


def test_an_answer_without_a_token_is_an_empty_token() -> None:
    """AWS's client takes an empty token as "no authorization needed"."""
    assert usable_token(None, NOW).length == 0


@pytest.mark.parametrize(
    ("token", "status"),
    [
        (AuthInfo(length=MAX_AUTH_LEN_BYTES + 1), StatusCode.INVALID_AUTH_LEN),
        (AuthInfo(length=1, type=AuthType.UNDEFINED), StatusCode.INVALID_STREAM_READY_STATE),
    ],
)
def test_unusable_tokens_are_refused(token: AuthInfo, status: StatusCode) -> None:
    """One is too long, one has no type."""
    with pytest.raises(KvsError) as raised:
        usable_token(token, NOW)
    assert raised.value.status is status


@pytest.mark.parametrize(
    ("life", "roll", "until"),
    [
        (30 * SECOND, 0, 27 * SECOND),
        (5 * MINUTE - 1, 10**6, 5 * MINUTE - 1 - 3 * SECOND),  # short lives have no jitter
        (5 * MINUTE, 29, 5 * MINUTE - 32 * SECOND),
        (30 * MINUTE, 179, 30 * MINUTE - 182 * SECOND),
        (40 * MINUTE, 239, 37 * MINUTE - 3 * SECOND),  # at most 3 minutes
        (24 * 60 * MINUTE, 0, 40 * MINUTE - 3 * SECOND),  # never longer than 40 minutes
    ],
)
def test_when_a_token_is_replaced(life: int, roll: int, until: int) -> None:
    """That is three seconds before its end, or earlier by a random part of its life."""
    assert rotation_time(NOW + life, NOW, lambda sides: min(roll, sides - 1)) == NOW + until


def test_a_ready_stream_requests_a_new_token_if_one_arrives_expired(
    desk: Callable[..., Any],
) -> None:
    """The credentials behind it are about to be renewed.

    Before the first session it is an error.
    """
    d = desk()
    d.put(0)
    d.read()
    d.answers[kvs.GetStreamingToken] = [
        (200, kvs.AuthInfo(expiration=d.now - SECOND)),
        (200, kvs.AuthInfo(expiration=d.now + 3600 * SECOND)),
    ]
    d.stream.upload_ended(d.upload, 401, d.now)
    d.settle()
    assert d.stream.failure is None
    assert b"data" in d.read()[0]
    reported = [event.status for event in d.reported(kvs.StreamErrorReported)]
    assert StatusCode.INVALID_TOKEN_EXPIRATION in reported
