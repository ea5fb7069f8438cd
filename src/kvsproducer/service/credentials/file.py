"""Credentials from a file in the C producer's own format: one line of words.

    CREDENTIALS key secret
    CREDENTIALS key secret token
    CREDENTIALS key expiration secret
    CREDENTIALS key expiration secret token

An expiration is `YYYY-MM-DDTHH:MM:SSZ`. The C producer tells the forms apart by the number of
words, and so takes the secret of the second one for an expiration; here a word counts as the
expiration when it looks like one, or when there are five. It also cuts what is too long, which
fails later for no visible reason; here that is an error.

Whatever writes the file should replace it whole (write another one and rename it). The shared
credentials file of the AWS command line is another format: name its profile instead.
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
    """Reads the file when it is made, so that a bad one is told at once, and again when due.

    That is when the credentials are about to expire, and after 40 minutes at the latest, which is
    also the life of those without an expiration. `clock` gives the time in ticks since 1970.

    Raises FILE_CREDENTIAL_PROVIDER_OPEN_FILE_FAILED, FILE_CREDENTIAL_PROVIDER_INVALID_FILE_LENGTH
    (10,000 bytes or more), FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT, and for the expiration
    TIMESTAMP_STRING_UNRECOGNIZED_FORMAT, IOT_EXPIRATION_PARSING_FAILED,
    IOT_EXPIRATION_OCCURS_IN_PAST; for the path what `utils.check_path` does.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], int] = now) -> None:
        self._path = check_path(path)
        self._clock = clock
        self.fetch()

    def fetch(self) -> AwsCredentials:
        """Read the file; raises as the class does."""
        return self._read(self._clock())

    def fetch_in(self, network: Network, skew: ClockSkew) -> AwsCredentials:  # noqa: ARG002
        """The same by the service's time."""
        return self._read(self._clock() + skew.ticks)

    def _read(self, now: int) -> AwsCredentials:
        try:
            with self._path.open("rb") as file:
                content = file.read(limits.MAX_CREDENTIAL_FILE_BYTES)
        except (OSError, ValueError) as error:  # a NUL in the path
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
    """The credentials in the bytes of such a file; `now` in ticks since 1970. Raises as the class.

    They end after 40 minutes at the latest, for the file is to be read again by then.
    """
    if len(content) >= limits.MAX_CREDENTIAL_FILE_BYTES:
        raise kvs_error(
            _S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_LENGTH,
            f"it has {limits.MAX_CREDENTIAL_FILE_BYTES} bytes or more",
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
