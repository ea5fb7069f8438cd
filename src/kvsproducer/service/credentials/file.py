"""Credentials from a file in the format of the C producer: one line of words.

    CREDENTIALS key secret
    CREDENTIALS key secret token
    CREDENTIALS key expiration secret
    CREDENTIALS key expiration secret token

An expiration is `YYYY-MM-DDTHH:MM:SSZ`. The C producer distinguishes the forms by the number of
words, and so reads the secret of the second form as an expiration. This module reads a word as the
expiration if it has the form of one, or if there are five words. The C producer also cuts words
that are too long, so that requests fail later without a visible reason. In this module a word that
is too long is an error.

A program that writes the file should write another file and rename it, so that the file is never
incomplete. The shared credentials file of the AWS command line has another format: use
`profile_name=` for that one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from kvsproducer import limits
from kvsproducer.service.clock import now
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.credentials.expiration import (
    check_not_past,
    looks_like_expiration,
    parse_expiration,
)
from kvsproducer.service.network import Network
from kvsproducer.status import KvsError, StatusCode, kvs_error, with_detail
from kvsproducer.status.system import in_words
from kvsproducer.utils import check_path

__all__ = ["FileCredentials", "parse_credentials_file"]

_S = StatusCode
_KEYWORD: Final = "CREDENTIALS"
_MAX_LENGTHS: Final = {
    "access key": limits.MAX_ACCESS_KEY_LEN,
    "secret key": limits.MAX_SECRET_KEY_LEN,
    "session token": limits.MAX_SESSION_TOKEN_LEN,
}


class FileCredentials:
    """A credentials provider that reads a file in the format of the C producer.

    path: the file. It is read when the provider is created, so that an invalid file is reported at
        once. It is read again when the credentials are about to expire, at the latest after 40
        minutes.
    clock: function that returns the time in ticks since 1970.

    Raises FILE_CREDENTIAL_PROVIDER_OPEN_FILE_FAILED, FILE_CREDENTIAL_PROVIDER_INVALID_FILE_LENGTH
    (10,000 bytes or more), FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT; for the expiration
    TIMESTAMP_STRING_UNRECOGNIZED_FORMAT, IOT_EXPIRATION_PARSING_FAILED,
    IOT_EXPIRATION_OCCURS_IN_PAST; for the path what `utils.check_path` raises.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], int] = now) -> None:
        self._path = check_path(path)
        self._clock = clock
        self.fetch()

    def fetch(self) -> AwsCredentials:
        """Read the file and return its credentials; raises what the class raises."""
        return self._read(self._clock())

    def fetch_in(self, network: Network, skew: ClockSkew) -> AwsCredentials:  # noqa: ARG002
        """Read the file, and compare the expiration with the service's time."""
        return self._read(self._clock() + skew.ticks)

    def _read(self, now: int) -> AwsCredentials:
        try:
            with self._path.open("rb") as file:
                content = file.read(limits.MAX_CREDENTIAL_FILE_BYTES)
        except (OSError, ValueError) as error:  # ValueError: the path has a NUL character
            raise kvs_error(
                _S.FILE_CREDENTIAL_PROVIDER_OPEN_FILE_FAILED,
                f"{self._path}: {in_words(error)}",
            ) from error
        try:
            return parse_credentials_file(content, now)
        except KvsError as error:
            raise with_detail(error, f"{self._path}: {error.detail}") from None

    def __repr__(self) -> str:
        return f"FileCredentials({str(self._path)!r})"


def parse_credentials_file(content: bytes, now: int) -> AwsCredentials:
    """Return the credentials in the content of a file; `now` is in ticks since 1970.

    They expire after 40 minutes at the latest, so that the file is read again by then. Raises what
    `FileCredentials` raises.
    """
    if len(content) >= limits.MAX_CREDENTIAL_FILE_BYTES:
        raise kvs_error(
            _S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_LENGTH,
            f"the file has {limits.MAX_CREDENTIAL_FILE_BYTES:,} bytes or more, "
            "too many for credentials",
        )
    words = content.decode("ascii", "replace").split()
    if not words or words[0] != _KEYWORD:
        raise _malformed(f"it does not begin with the word {_KEYWORD}")
    if not 3 <= len(words) <= 5:
        raise _malformed(
            f"{len(words) - 1} words follow {_KEYWORD}: it takes a key and a secret, with an"
            " expiration before the secret and a session token after it if there are any"
        )
    latest = now + limits.MAX_TOKEN_LIFE
    expiration = latest
    if len(words) == 5 or (len(words) == 4 and looks_like_expiration(words[2])):
        expiration = parse_expiration(words.pop(2))
        check_not_past(expiration, now)
    for (name, longest), word in zip(_MAX_LENGTHS.items(), words[1:], strict=False):
        if len(word) > longest:
            raise _malformed(f"the {name} has {len(word)} characters, {longest} are the most")
    try:
        return AwsCredentials(*words[1:], expiration=min(expiration, latest))  # type: ignore[misc]
    except KvsError as error:
        raise _malformed(error.detail) from None


def _malformed(detail: str) -> KvsError:
    return kvs_error(_S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT, detail)
