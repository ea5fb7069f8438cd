"""Who asks: the User-Agent header.

`<name>/<version> <Python>/<its version> <system>/<its release> <machine>[ <extra>]`, as the C
producer has it, 256 characters at most. Control plane, PutMedia and GetMedia send the same.
"""

from __future__ import annotations

import platform
from typing import Final

from kvsproducer import limits
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.version import VERSION

__all__ = ["user_agent"]

_DEFAULT_NAME: Final = "kvsproducer"


def user_agent(name: str = "", extra: str = "") -> str:
    """The header's value; `name` and `extra` are those of `ServiceConfig`.

    Raises INVALID_USER_AGENT_LENGTH when the system's own names leave no room for them.
    """
    parts = [
        f"{name or _DEFAULT_NAME}/{VERSION}",
        f"{platform.python_implementation()}/{platform.python_version()}",
        f"{platform.system()}/{platform.release()}",
        platform.machine(),
        extra,
    ]
    text = " ".join(_printable(part) for part in parts if part)
    if len(text) > limits.MAX_USER_AGENT_LEN:
        raise kvs_error(
            StatusCode.INVALID_USER_AGENT_LENGTH,
            f"User-Agent would have {len(text)} characters: shorten user_agent_name or "
            f"user_agent_extra by {len(text) - limits.MAX_USER_AGENT_LEN}",
        )
    return text


def _printable(text: str) -> str:
    """What a header may hold; a system may call itself anything."""
    return "".join(c if c.isascii() and c.isprintable() else "_" for c in text)
