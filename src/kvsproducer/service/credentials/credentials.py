"""`AwsCredentials`: the value that a provider returns and that requests are signed with.

Source: AWS's `AwsCredentials` structure (version 0). No repr and no message shows a key, secret or
token: messages only give the name of the member and its length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kvsproducer import limits
from kvsproducer.duration import Instant, format_instant, instant_to_ticks
from kvsproducer.service.credentials.expiration import parse_expiration
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["AwsCredentials"]

_S = StatusCode
_VERSION: Final = 0
# Names without underscores, in lower case, by which `from_dict` finds them: it reads the answers of
# Security Token Service (`AccessKeyId`) and AWS IoT (`accessKeyId`) as well as our own names.
_MEMBERS: Final = {
    name.replace("_", ""): name
    for name in ("access_key_id", "secret_access_key", "session_token", "expiration")
}


@dataclass(frozen=True, slots=True, init=False)
class AwsCredentials:
    """AWS credentials: access key, secret key, session token and expiration.

    session_token: the token of temporary credentials; None (default) for permanent ones.
    expiration: ticks since 1970, an aware `datetime`, or text such as `"2026-01-02T03:04:05Z"`;
        None (default) if the credentials do not expire. The attribute is in ticks.

    Raises NULL_ARG for a missing key or secret; INVALID_ARG for an empty part or one with a line
    break; HMAC_GENERATION_ERROR for a secret that cannot be encoded as UTF-8 and so cannot sign
    (`os.environ` contains such text for bytes in another encoding); INVALID_AUTH_LEN for more than
    10,000 characters in total; TIMESTAMP_STRING_UNRECOGNIZED_FORMAT or
    IOT_EXPIRATION_PARSING_FAILED for text that is not a time.
    """

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    expiration: int | None = field(repr=False)

    def __init__(
        self,
        access_key_id: str,
        secret_access_key: str,
        session_token: str | None = None,
        expiration: Instant | str | None = None,
    ) -> None:
        _check("access_key_id", access_key_id)
        if isinstance(secret_access_key, str) and not _has_utf8_form(secret_access_key):
            raise kvs_error(
                _S.HMAC_GENERATION_ERROR,
                "secret_access_key cannot sign requests: it contains bytes that are not UTF-8 text",
            )
        _check("secret_access_key", secret_access_key)
        if session_token is not None:
            _check("session_token", session_token)
        if isinstance(expiration, str):
            expiration = parse_expiration(expiration)
        elif expiration is not None:
            expiration = instant_to_ticks(expiration)
        object.__setattr__(self, "access_key_id", access_key_id)
        object.__setattr__(self, "secret_access_key", secret_access_key)
        object.__setattr__(self, "session_token", session_token)
        object.__setattr__(self, "expiration", expiration)
        if self.length > limits.MAX_AUTH_LEN_BYTES:
            raise kvs_error(
                _S.INVALID_AUTH_LEN,
                f"the credentials have {self.length} characters; "
                f"at most {limits.MAX_AUTH_LEN_BYTES} are allowed",
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> AwsCredentials:
        """Return the credentials in a mapping.

        `data` has the members `access_key_id` and `secret_access_key`, and may have
        `session_token`, `expiration` and `version` (0). Names as in the answers of Security Token
        Service (`AccessKeyId`) and AWS IoT (`accessKeyId`) are accepted too. Raises
        INVALID_AWS_CREDENTIALS_VERSION, INVALID_ARG for an unknown member, and what the class
        raises.
        """
        values: dict[str, object] = {name: None for name in _MEMBERS.values()}
        for given, value in data.items():
            name = str(given).replace("_", "").lower()
            if name == "version":
                if value != _VERSION:
                    raise kvs_error(
                        _S.INVALID_AWS_CREDENTIALS_VERSION,
                        f"the credentials have version {value!r}; only {_VERSION} is known",
                    )
            elif name in _MEMBERS:
                values[_MEMBERS[name]] = value
            else:
                raise kvs_error(
                    _S.INVALID_ARG,
                    f"credentials have no member {str(given)!r}; "
                    f"they have {', '.join(_MEMBERS.values())}, version",
                )
        return cls(**values)  # type: ignore[arg-type]  # the class checks the types

    @property
    def length(self) -> int:
        """The total number of characters of key, secret and token."""
        parts = (self.access_key_id, self.secret_access_key, self.session_token or "")
        return sum(len(part) for part in parts)

    def __repr__(self) -> str:
        if self.expiration is None:
            return "<AwsCredentials that do not expire>"
        return f"<AwsCredentials until {format_instant(self.expiration)}>"


def _check(name: str, value: object) -> None:
    if value is None:
        raise kvs_error(_S.NULL_ARG, f"{name} is missing")
    if not isinstance(value, str):
        raise kvs_error(
            _S.INVALID_ARG, f"{name} is of type {type(value).__name__}; give text (str)"
        )
    if not value:
        raise kvs_error(_S.INVALID_ARG, f"{name} is empty")
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise kvs_error(
            _S.INVALID_ARG,
            f"{name} begins or ends with a blank, or has a line break or a non-ASCII character",
        )


def _has_utf8_form(text: str) -> bool:
    """Return whether `text` can be encoded as UTF-8, which is not so with lone surrogates.

    `os.environ` contains lone surrogates for bytes in other encodings.

    The caller must not chain the codec's exception, because that contains the text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
