"""The record of a stream in the control plane.

Source: Kinesis Video Streams API 2017-09-30, StreamInfo. A record is immutable. A change creates a
new record with a new version, so another thread sees either the old or the new state as a whole.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from kvsproducer.duration import TICKS_PER_HOUR, TICKS_PER_MINUTE, TICKS_PER_MS, TICKS_PER_SECOND

__all__ = ["StreamRecord", "new_version", "stream_arn"]

VERSION_LENGTH: Final = 20
_VERSION_CHARACTERS: Final = string.ascii_letters + string.digits
# How long the service stores fragments for readers if the retention is 0 (and at most 200 MB).
_BUFFER_WITHOUT_RETENTION: Final = 5 * TICKS_PER_MINUTE


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One stream. `created` is in ticks. If `retention_hours` is 0, nothing is persisted."""

    name: str
    arn: str
    version: str
    created: int
    retention_hours: int = 0
    device_name: str | None = None
    media_type: str | None = None
    kms_key_id: str | None = None
    storage_tier: str = "HOT"
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def retention(self) -> int:
        """How long stored fragments can be read, in ticks."""
        return self.retention_hours * TICKS_PER_HOUR or _BUFFER_WITHOUT_RETENTION

    def describe(self) -> dict[str, str | int | float | None]:
        """Return the StreamInfo of DescribeStream and ListStreams. Unset members are null."""
        region, account = self.arn.split(":")[3:5]
        return {
            "DeviceName": self.device_name,
            "StreamName": self.name,
            "StreamARN": self.arn,
            "MediaType": self.media_type,
            "KmsKeyId": self.kms_key_id or f"arn:aws:kms:{region}:{account}:alias/aws/kinesisvideo",
            "Version": self.version,
            "Status": "ACTIVE",
            "CreationTime": self.created // TICKS_PER_MS * TICKS_PER_MS / TICKS_PER_SECOND,
            "DataRetentionInHours": self.retention_hours,
            "IngestionConfiguration": None,  # not in the API model, but the service sends it
        }

    def changed(self, version: str, **values: str | int | dict[str, str] | None) -> StreamRecord:
        """Return a copy with other values and a new version."""
        return replace(self, version=version, **values)  # type: ignore[arg-type]

    def to_json(self) -> str:
        """Return the record as JSON text for the index."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: object) -> StreamRecord:
        """Parse the text that `to_json` returned. Members of a newer version are ignored.

        Raises ValueError for any other text.
        """
        members = json.loads(text) if isinstance(text, str) else None
        if not isinstance(members, dict):
            raise ValueError("it is not a JSON object")
        known = {name: members[name] for name in _MEMBER_TYPES if name in members}
        for name, value in known.items():
            if not isinstance(value, _MEMBER_TYPES[name]) or isinstance(value, bool):
                raise ValueError(f"its {name} is {value!r}")
        missing = sorted(_REQUIRED - set(known))
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        return cls(**known)


_TEXT_OR_NONE: Final = (str, type(None))
_MEMBER_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "name": str,
    "arn": str,
    "version": str,
    "created": int,
    "retention_hours": int,
    "device_name": _TEXT_OR_NONE,
    "media_type": _TEXT_OR_NONE,
    "kms_key_id": _TEXT_OR_NONE,
    "storage_tier": str,
    "tags": dict,
}
_REQUIRED: Final = {"name", "arn", "version", "created"}


def stream_arn(region: str, account: str, name: str, created: int) -> str:
    """Return the ARN of a stream. Its last part is the creation time in epoch milliseconds."""
    return f"arn:aws:kinesisvideo:{region}:{account}:stream/{name}/{created // TICKS_PER_MS}"


def new_version(dice: Callable[[int], int]) -> str:
    """Return a new version: 20 random letters and digits.

    `dice(n)` returns a random number below n.
    """
    count = len(_VERSION_CHARACTERS)
    return "".join(_VERSION_CHARACTERS[dice(count)] for _ in range(VERSION_LENGTH))
