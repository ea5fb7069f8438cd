"""Streaming tokens: which ones are valid for opening an upload, and when to replace one.

Source: AWS's client refuses a token that is valid for less than 30 s, and uses no token for longer
than 40 minutes. It shortens a long life by a random part, so that many devices do not rotate at
once. It begins the next session 3 s before the token's end.
"""

from __future__ import annotations

from collections.abc import Callable

from kvsproducer import limits
from kvsproducer.client.core import NEVER
from kvsproducer.client.effects import AuthInfo, AuthType
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["Rotation", "rotation_time", "usable_token"]

_S = StatusCode


def usable_token(answer: object, now: int) -> AuthInfo:
    """Return the token in the answer of a service call, or an empty token if there is none.

    Raises INVALID_AUTH_LEN, INVALID_STREAM_READY_STATE (a token of undefined type), and
    INVALID_TOKEN_EXPIRATION.
    """
    token = answer if isinstance(answer, AuthInfo) else AuthInfo(length=0)
    if token.length > limits.MAX_AUTH_LEN_BYTES:
        raise kvs_error(
            _S.INVALID_AUTH_LEN,
            f"the token has {token.length} bytes; at most {limits.MAX_AUTH_LEN_BYTES} are allowed",
        )
    if token.length and token.type is AuthType.UNDEFINED:
        raise kvs_error(_S.INVALID_STREAM_READY_STATE, "the token has the type UNDEFINED")
    left = token.expiration - now
    if left < limits.MIN_TOKEN_LIFE:
        raise kvs_error(
            _S.INVALID_TOKEN_EXPIRATION,
            f"the token expires in {left / TICKS_PER_SECOND:.0f} s, at least 30 s are needed",
        )
    return token


def rotation_time(expiration: int, now: int, roll: Callable[[int], int]) -> int:
    """Return when to rotate, in ticks: a grace period before the capped and randomized end.

    `roll(n)` returns a uniform int below n.
    """
    expiration = min(expiration, now + limits.MAX_TOKEN_LIFE)
    left = expiration - now
    if left >= limits.TOKEN_JITTER_THRESHOLD:
        seconds = int(left * limits.TOKEN_JITTER_RATIO) // TICKS_PER_SECOND
        jitter = roll(seconds) * TICKS_PER_SECOND if seconds else 0
        expiration -= min(jitter, limits.MAX_TOKEN_JITTER)
    return expiration - limits.TOKEN_GRACE_PERIOD


class Rotation:
    """When to replace a stream's token and when to begin its next session; ticks, or `NEVER`."""

    __slots__ = ("due", "rotate_at", "session_at")

    def __init__(self) -> None:
        self.rotate_at = NEVER  # the token must be replaced from then on
        self.session_at = NEVER  # the first key frame from then on starts the new session
        self.due = NEVER  # the earlier of the two; compared for every frame

    def schedule(self, *, rotate_at: int | None = None, session_at: int | None = None) -> None:
        """Set one or both times."""
        self.rotate_at = self.rotate_at if rotate_at is None else rotate_at
        self.session_at = self.session_at if session_at is None else session_at
        self.due = min(self.rotate_at, self.session_at)
