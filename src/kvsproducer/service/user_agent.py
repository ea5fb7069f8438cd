"""The User-Agent header.

`<name>/<version> <Python>/<its version> <system>/<its release> <machine>[ app/<id>][ <extra>]`, as
in the C producer, at most 256 characters. All requests send the same header.

The application's id is a setting of all AWS SDKs: `sdk_ua_app_id` in a profile, or
AWS_SDK_UA_APP_ID (AWS SDKs and Tools Reference Guide, "Application ID"). An id that is too long is
left out with a warning and is not an error, because it may have been set for other tools.
"""

from __future__ import annotations

import logging
import platform
from typing import Final

from kvsproducer import limits
from kvsproducer.service.config import TOKEN_CHARACTERS
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.version import VERSION

__all__ = ["user_agent"]

log = logging.getLogger("kvsproducer.service")

_DEFAULT_NAME: Final = "kvsproducer"


def user_agent(name: str = "", extra: str = "", app_id: str = "") -> str:
    """Return the header's value.

    name, extra: `user_agent_name` and `user_agent_extra` of `ServiceConfig`.
    app_id: the application's id; if it has more than 50 characters, it is left out with a warning
        in the log.

    Raises INVALID_USER_AGENT_LENGTH if the header would have more than 256 characters.
    """
    if len(app_id) > limits.MAX_APP_ID_LEN:
        log.warning(
            "the application's id (AWS_SDK_UA_APP_ID, or sdk_ua_app_id of the profile) has %d "
            "characters, over %d: it is left out of User-Agent",
            len(app_id),
            limits.MAX_APP_ID_LEN,
        )
        app_id = ""
    parts = [
        f"{name or _DEFAULT_NAME}/{VERSION}",
        f"{platform.python_implementation()}/{platform.python_version()}",
        f"{platform.system()}/{platform.release()}",
        platform.machine(),
        f"app/{_token(app_id)}" if app_id else "",
        extra,
    ]
    text = " ".join(_printable(part) for part in parts if part)
    if len(text) > limits.MAX_USER_AGENT_LEN:
        raise kvs_error(
            StatusCode.INVALID_USER_AGENT_LENGTH,
            f"User-Agent would have {len(text)} characters: shorten user_agent_name, "
            f"user_agent_extra or the application's id (AWS_SDK_UA_APP_ID, {len(app_id)} "
            f"characters) by {len(text) - limits.MAX_USER_AGENT_LEN} together",
        )
    return text


def _printable(text: str) -> str:
    """Replace the characters that a header may not contain, which system names may have."""
    return "".join(c if c.isascii() and c.isprintable() else "_" for c in text)


def _token(text: str) -> str:
    """Replace the characters that an id may not contain by hyphens, as the other SDKs do."""
    return "".join(c if c in TOKEN_CHARACTERS else "-" for c in text)
