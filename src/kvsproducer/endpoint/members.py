"""Parse a JSON request, and check its members against the API model: type, length, pattern.

Source: Kinesis Video Streams API 2017-09-30, the constraints of its shapes. A request with a member
that violates a constraint is refused with InvalidArgumentException, and the text names the member.
As in the service, a JSON null counts as absent, and unknown members are ignored.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.endpoint.errors import ServiceError, invalid_argument

__all__ = ["JsonObject", "JsonValue", "Members", "next_token", "parse_json"]

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = "Mapping[str, JsonValue]"

_NAME: Final = r"[a-zA-Z0-9_.-]+"
_TYPE: Final = r"[\w\-.+]+/[\w\-.+]+"
_ARN: Final = rf"arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/{_NAME}/[0-9]+"
_TEXT_RULES: Final[dict[str, tuple[int, int, str]]] = {
    # member: shortest, longest, pattern
    "StreamName": (1, limits.SERVICE_MAX_STREAM_NAME_LEN, _NAME),
    "StreamARN": (1, limits.SERVICE_MAX_ARN_LEN, _ARN),
    "DeviceName": (1, limits.SERVICE_MAX_DEVICE_NAME_LEN, _NAME),
    "MediaType": (1, limits.SERVICE_MAX_MEDIA_TYPE_LEN, rf"{_TYPE}(?:,{_TYPE})*"),
    "KmsKeyId": (1, limits.SERVICE_MAX_KMS_KEY_ID_LEN, r".+"),
    "CurrentVersion": (1, 64, r"[a-zA-Z0-9]+"),
    "NextToken": (0, limits.SERVICE_MAX_NEXT_TOKEN_LEN, r"[a-zA-Z0-9+/=]*"),
    "ContinuationToken": (1, 128, r"[a-zA-Z0-9_.\-]+"),
    "AfterFragmentNumber": (1, limits.MAX_FRAGMENT_NUMBER_LEN, r"[0-9]+"),
    "Fragments": (1, limits.MAX_FRAGMENT_NUMBER_LEN, r"[0-9]+"),
    "ComparisonValue": (1, 256, _NAME),
    "TagKey": (1, limits.SERVICE_MAX_TAG_NAME_LEN, r"[\w\s.:/=+\-@]*"),
    "TagValue": (0, limits.SERVICE_MAX_TAG_VALUE_LEN, r"[\w\s.:/=+\-@]*"),
}  # fmt: skip
_PATTERNS: Final = {name: re.compile(rule[2]) for name, rule in _TEXT_RULES.items()}
_MAX_EPOCH_S: Final = 253_402_300_799  # the year 9999


def parse_json(body: bytes) -> Members:
    """Parse the body of a request. An empty body counts as `{}`.

    Raises ServiceError SerializationException if the body is not a JSON object.
    """
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ServiceError("SerializationException", "The body is not JSON.") from None
    if not isinstance(value, dict):
        raise ServiceError("SerializationException", "The body is not a JSON object.")
    return Members(value)


def next_token(position: str) -> str:
    """Return the NextToken for a position (any text). `Members.position` decodes it."""
    return base64.b64encode(position.encode()).decode()


class Members:
    """The members of a JSON object. Each method raises ServiceError InvalidArgumentException."""

    def __init__(self, values: JsonObject, where: str = "") -> None:
        self._values = values
        self._where = where

    @property
    def label(self) -> str:
        """The stream's name or ARN as given in the request, for the log; "-" if there is none."""
        for name in ("StreamName", "StreamARN"):
            value = self._values.get(name)
            if isinstance(value, str) and _PATTERNS[name].fullmatch(value):
                return value
        return "-"

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def text(self, name: str) -> str | None:
        """Return a string, or None if it is absent. Raise if it violates the rule for `name`."""
        value = self._values.get(name)
        return None if value is None else _checked_text(self._where + name, value, name)

    def required_text(self, name: str) -> str:
        """Return a string as `text` does, but raise if it is absent."""
        value = self.text(name)
        if value is None:
            raise self._missing(name)
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return a required string that is one of `choices`."""
        value = self._values.get(name)
        if value is None:
            raise self._missing(name)
        if not isinstance(value, str) or value not in choices:
            raise invalid_argument(f"{self._where}{name} must be one of {', '.join(choices)}.")
        return value

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number in `low`..`high`. The member is required if there is no default."""
        value = self._values.get(name)
        if value is None:
            if default is None:
                raise self._missing(name)
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise invalid_argument(
                f"{self._where}{name} must be a whole number from {low} to {high}."
            )
        return value

    def instant(self, name: str) -> int:
        """Return a required timestamp in ticks. In JSON it is a number of epoch seconds."""
        value = self._values.get(name)
        if value is None:
            raise self._missing(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid_argument(f"{self._where}{name} must be epoch seconds, a number.")
        if not 0 <= value <= _MAX_EPOCH_S:
            raise invalid_argument(f"{self._where}{name} is out of range.")
        # A double has microsecond precision for an epoch time.
        return round(value * 1_000_000) * (TICKS_PER_SECOND // 1_000_000)

    def object(self, name: str) -> Members | None:
        """Return a nested object, or None if it is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise invalid_argument(f"{self._where}{name} must be an object.")
        return Members(value, f"{self._where}{name}.")

    def required_object(self, name: str) -> Members:
        """Return a nested object as `object` does, but raise if it is absent."""
        value = self.object(name)
        if value is None:
            raise self._missing(name)
        return value

    def tags(self, name: str, low: int, high: int) -> dict[str, str]:
        """Return a map of `low`..`high` tags. The member may be absent if `low` is 0."""
        value = self._values.get(name)
        if value is None and low == 0:
            return {}
        if not isinstance(value, dict) or not low <= len(value) <= high:
            raise invalid_argument(f"{self._where}{name} must be a map of {low} to {high} tags.")
        return {
            _checked_text("a tag key", key, "TagKey"): _checked_text("a tag value", tag, "TagValue")
            for key, tag in value.items()
        }

    def texts(self, name: str, rule: str, high: int) -> list[str]:
        """Return a required list of 1..`high` strings, checked against `rule`."""
        value = self._values.get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= high:
            raise invalid_argument(f"{self._where}{name} must be a list of 1 to {high} strings.")
        return [_checked_text(f"an item of {name}", item, rule) for item in value]

    def position(self) -> str:
        """Return the position in NextToken (see `next_token`), or "" if it is absent."""
        token = self.text("NextToken")
        if not token:
            return ""
        try:
            return base64.b64decode(token, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise invalid_argument(
                "NextToken was not returned by this endpoint; repeat the request without it."
            ) from None

    def _missing(self, name: str) -> ServiceError:
        return invalid_argument(f"{self._where}{name} is required.")


def _checked_text(label: str, value: JsonValue, rule: str) -> str:
    low, high, _ = _TEXT_RULES[rule]
    if not isinstance(value, str) or not low <= len(value) <= high:
        raise invalid_argument(f"{label} must be a string of {low} to {high} characters.")
    if not _PATTERNS[rule].fullmatch(value):
        raise invalid_argument(f"{label} contains a character that is not allowed.")
    return value
