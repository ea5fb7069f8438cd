"""Provocations for the statuses of credentials: given ones, credentials files, AWS IoT."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from ssl import TLSVersion
from typing import Any

from tests.iot import IotEndpoint, answer
from tests.status_codes.place import Place, Provocation, Table

import kvsproducer
from kvsproducer import StatusCode

_S = StatusCode


def file(content: str | None) -> Provocation:
    """Read a credentials file with this content, or one that does not exist."""

    def provoke(place: Place) -> None:
        path = place.folder / "credentials"
        if content is not None:
            path.write_text(content)
        kvsproducer.FileCredentials(path)

    return provoke


def iot(
    reply: Callable[[], tuple[int, bytes]] | None = None,
    change: Callable[[IotEndpoint], dict[str, Any]] = lambda _: {},
) -> Provocation:
    """Fetch credentials from an AWS IoT endpoint that answers in this way."""

    def provoke(place: Place) -> None:
        with IotEndpoint(place.folder, TLSVersion.TLSv1_2) as endpoint:
            if reply is not None:
                endpoint.reply = reply
            kvsproducer.IotCredentials(**endpoint.options(**change(endpoint))).fetch()

    return provoke


def certificate_not_accepted(endpoint: IotEndpoint) -> dict[str, str]:
    return {
        "certificate": str(endpoint.wrong_certificate),
        "private_key": str(endpoint.wrong_key),
    }


def key_of_another_certificate(endpoint: IotEndpoint) -> dict[str, str]:
    return {"private_key": str(endpoint.wrong_key)}


TABLE: Table = {
    _S.INVALID_AWS_CREDENTIALS_VERSION: lambda _: kvsproducer.AwsCredentials.from_dict(
        {"version": 1, "access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret"}
    ),
    _S.IOT_FAILED: iot(change=certificate_not_accepted),
    _S.MAX_ROLE_ALIAS_LEN_EXCEEDED: iot(change=lambda _: {"role_alias": "r" * 129}),
    _S.IOT_EXPIRATION_OCCURS_IN_PAST: iot(lambda: (200, answer(timedelta(hours=-1)))),
    _S.IOT_EXPIRATION_PARSING_FAILED: file("CREDENTIALS key 2026-13-32T25:61:61Z secret token"),
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    _S.MAX_IOT_THING_NAME_LENGTH: iot(change=lambda _: {"thing_name": "t" * 129}),
    _S.IOT_CREATE_LWS_CONTEXT_FAILED: iot(change=key_of_another_certificate),
    _S.FILE_CREDENTIAL_PROVIDER_OPEN_FILE_FAILED: file(None),
    _S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_LENGTH: file("CREDENTIALS " + "x" * 10_000),
    _S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT: file("[default]\naws_access_key_id = key"),
    _S.CURL_PERFORM_FAILED: iot(lambda: (403, b"{}")),
    _S.IOT_INVALID_RESPONSE_LENGTH: iot(lambda: (200, b"")),
    _S.IOT_NULL_AWS_CREDS: iot(lambda: (200, answer(secretAccessKey=None))),
    _S.IOT_INVALID_URI_LEN: iot(change=lambda _: {"endpoint": "e" * 10_000}),
    _S.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT: iot(lambda: (200, answer(expiration="tomorrow"))),
}
