"""AwsCredentials: their checks, and that no text shows a secret."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime

import pytest

from kvsproducer import KvsError, StatusCode
from kvsproducer.duration import instant_to_ticks
from kvsproducer.service.credentials import AwsCredentials

S = StatusCode
END = datetime(2033, 5, 6, 7, 8, 9, tzinfo=UTC)
END_TICKS = instant_to_ticks(END)


@pytest.mark.parametrize(
    "data",
    [
        {
            "version": 0,
            "access_key_id": "AKID",
            "secret_access_key": "secret",
            "session_token": "token",
            "expiration": END_TICKS,
        },
        # sts.assume_role(...)["Credentials"] of boto3
        {
            "AccessKeyId": "AKID",
            "SecretAccessKey": "secret",
            "SessionToken": "token",
            "Expiration": END,
        },
        # AWS IoT
        {
            "accessKeyId": "AKID",
            "secretAccessKey": "secret",
            "sessionToken": "token",
            "expiration": "2033-05-06T07:08:09Z",
        },
    ],
    ids=["ours", "sts", "iot"],
)
def test_from_dict_accepts_all_forms(data: dict[str, object]) -> None:
    """Our own form and the answers of AWS services give the same credentials."""
    wanted = AwsCredentials("AKID", "secret", "token", END)
    assert AwsCredentials.from_dict(data) == wanted
    assert wanted.expiration == END_TICKS


def test_key_and_secret_are_enough() -> None:
    """Without an expiration they do not expire."""
    found = AwsCredentials.from_dict(
        json.loads('{"access_key_id": "A", "secret_access_key": "S", "session_token": null}')
    )
    assert (found.session_token, found.expiration, found.length) == (None, None, 2)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"version": 1, "access_key_id": "A", "secret_access_key": "S"}, "AWS_CREDENTIALS_VERSION"),
        ({"secret_access_key": "S"}, S.NULL_ARG),
        ({"access_key_id": "A", "secret_access_key": None}, S.NULL_ARG),
        ({"access_key_id": "", "secret_access_key": "S"}, S.INVALID_ARG),
        ({"access_key_id": "A", "secret_access_key": "S\n"}, S.INVALID_ARG),
        ({"access_key_id": "A", "secret_access_key": 5}, S.INVALID_ARG),
        ({"access_key_id": "A", "secret_access_key": "S", "session_token": ""}, S.INVALID_ARG),
        ({"access_key_id": "A", "secret_access_key": "S", "session_token": "é"}, S.INVALID_ARG),
        ({"access_key_id": "A", "secret_access_key": "é"}, S.INVALID_ARG),
        ({"access_key_id": "\udcff", "secret_access_key": "S"}, S.INVALID_ARG),
        ({"access_key_id": "A", "secret_access_key": "\udcff"}, S.HMAC_GENERATION_ERROR),
        (
            {"access_key_id": "A", "secret_access_key": "S", "session_token": "\ud800"},
            S.INVALID_ARG,
        ),
        ({"access_key_id": "A", "secret_access_key": "S", "expiration": 1.5}, S.INVALID_ARG),
        ({"access_key_id": "A", "secret_access_key": "S", "account": "1"}, S.INVALID_ARG),
        (
            {"access_key_id": "A", "secret_access_key": "S", "expiration": "tomorrow"},
            S.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT,
        ),
        (
            {"access_key_id": "A", "secret_access_key": "S", "session_token": "t" * 10_000},
            S.INVALID_AUTH_LEN,
        ),
    ],
)
def test_invalid_values_are_refused(data: dict[str, object], status: StatusCode | str) -> None:
    """The error has the right status and does not show the secret."""
    wanted = S.INVALID_AWS_CREDENTIALS_VERSION if isinstance(status, str) else status
    with pytest.raises(KvsError) as caught:
        AwsCredentials.from_dict(data)
    assert caught.value.status is wanted
    assert not isinstance(caught.value.__context__, UnicodeError)  # it would have the text on it


def test_10_000_characters_are_the_most() -> None:
    """The limit is that of AWS's serialized form, which the core has too."""
    assert AwsCredentials("A" * 20, "S" * 40, "t" * 9_940).length == 10_000
    with pytest.raises(KvsError) as caught:
        AwsCredentials("A" * 20, "S" * 40, "t" * 9_941)
    assert caught.value.status is S.INVALID_AUTH_LEN


def test_repr_shows_no_secret() -> None:
    """repr and str show the expiration, but neither key nor secret nor token."""
    hidden = AwsCredentials("AKIDVISIBLE", "SECRETVISIBLE", "TOKENVISIBLE", END)
    assert repr(hidden) == "<AwsCredentials until 2033-05-06T07:08:09.000Z>"
    assert "VISIBLE" not in f"{hidden} {[hidden]} {AwsCredentials('AVISIBLE', 'VISIBLE')!r}"
    assert pickle.loads(pickle.dumps(hidden)) == hidden
    with pytest.raises(AttributeError):
        hidden.session_token = ""  # type: ignore[misc]
