"""The control plane: streams, their settings and tags.

Source: Kinesis Video Streams API 2017-09-30 (rest-json). Each operation takes the members of the
request and returns the JSON object of the response, or raises ServiceError. `OPERATIONS` maps the
path of a request to its operation. Every change is stored on disk before the response is sent.

A stream is ACTIVE as soon as it exists, and it no longer exists as soon as it is deleted. Image
generation, notifications, edge configuration and signaling are not implemented.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeAlias

from kvsproducer import limits, wire
from kvsproducer.endpoint.errors import ServiceError, invalid_argument, not_found
from kvsproducer.endpoint.members import JsonObject, Members, next_token
from kvsproducer.endpoint.store import Store
from kvsproducer.endpoint.streams import StreamRecord, new_version, stream_arn

__all__ = ["OPERATIONS", "ControlPlane"]

Operation: TypeAlias = "Callable[[ControlPlane, Members], JsonObject]"

DEFAULT_REGION: Final = "us-west-2"
DEFAULT_ACCOUNT: Final = "123456789012"
_TAGS_PER_PAGE: Final = 50


class ControlPlane:
    """The streams of an endpoint. Its methods may be called from several threads.

    `now` returns the time in ticks, and `dice(n)` a uniform random number below n.
    `on_deleted(arn)` is called after a stream was deleted.
    """

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], int],
        dice: Callable[[int], int],
        on_deleted: Callable[[str], None],
        region: str = DEFAULT_REGION,
        account: str = DEFAULT_ACCOUNT,
    ) -> None:
        self._store = store
        self._now = now
        self._dice = dice
        self._on_deleted = on_deleted
        self._region = region
        self._account = account
        self._lock = threading.RLock()
        self._streams = {record.name: record for record in store.streams()}

    # --- lookup ----------------------------------------------------------------------------
    def records(self) -> list[StreamRecord]:
        """Return every stream."""
        return list(self._streams.values())

    def find(self, name: str | None, arn: str | None) -> StreamRecord:
        """Return the stream with this name or ARN. Exactly one of them must be given.

        Raises ServiceError.
        """
        if (name is None) == (arn is None):
            raise invalid_argument("Either StreamName or StreamARN is required, and not both.")
        found = self._streams.get(name if name is not None else _name_of(arn or ""))
        if found is None or (arn is not None and found.arn != arn):
            raise not_found()
        return found

    def of(self, members: Members) -> StreamRecord:
        """Return the stream that a request names. A name and an ARN must name the same stream."""
        name, arn = members.text("StreamName"), members.text("StreamARN")
        record = self.find(None, arn) if arn is not None else self.find(name, None)
        if name is not None and name != record.name:
            raise invalid_argument("StreamName and StreamARN name different streams.")
        return record

    # --- operations ------------------------------------------------------------------------
    def create_stream(self, members: Members) -> JsonObject:
        """Handle CreateStream: return StreamARN.

        Raises ResourceInUseException if the stream exists.
        """
        name = members.required_text("StreamName")
        tags = members.tags("Tags", 0, limits.SERVICE_MAX_TAGS)
        tier = members.object("StreamStorageConfiguration")
        with self._lock:
            if name in self._streams:
                raise ServiceError("ResourceInUseException", f"The stream {name} already exists.")
            now = self._now()
            record = StreamRecord(
                name=name,
                arn=stream_arn(self._region, self._account, name, now),
                version=new_version(self._dice),
                created=now,
                retention_hours=members.integer(
                    "DataRetentionInHours", 0, limits.SERVICE_MAX_RETENTION_HOURS, 0
                ),
                device_name=members.text("DeviceName"),
                media_type=members.text("MediaType"),
                kms_key_id=members.text("KmsKeyId"),
                storage_tier=_tier(tier) if tier else "HOT",
                tags=tags,
            )
            self._save(record)
        return {"StreamARN": record.arn}

    def describe_stream(self, members: Members) -> JsonObject:
        """Handle DescribeStream: return StreamInfo."""
        return {"StreamInfo": {**self.of(members).describe()}}

    def list_streams(self, members: Members) -> JsonObject:
        """Handle ListStreams: return a page of StreamInfo, ordered by name.

        If there are more streams, the response has a NextToken.
        """
        count = members.integer(
            "MaxResults", 1, limits.SERVICE_MAX_LIST_STREAMS, limits.SERVICE_MAX_LIST_STREAMS
        )
        prefix = ""
        condition = members.object("StreamNameCondition")
        if condition is not None:
            if "ComparisonOperator" in condition:
                condition.choice("ComparisonOperator", ("BEGINS_WITH",))
            prefix = condition.text("ComparisonValue") or ""
        after = members.position()
        names = sorted(
            name for name in list(self._streams) if name > after and name.startswith(prefix)
        )
        page = [self._streams[name] for name in names[:count] if name in self._streams]
        return {
            "StreamInfoList": [{**record.describe()} for record in page],
            "NextToken": next_token(names[count - 1]) if len(names) > count else None,
        }

    def update_stream(self, members: Members) -> JsonObject:
        """Handle UpdateStream: change the device name and the media type."""
        with self._lock:
            record = self._of_version(members)
            device, media_type = members.text("DeviceName"), members.text("MediaType")
            self._save(
                record.changed(
                    new_version(self._dice),
                    device_name=device or record.device_name,
                    media_type=media_type or record.media_type,
                )
            )
        return {}

    def delete_stream(self, members: Members) -> JsonObject:
        """Handle DeleteStream: delete the stream and its fragments, and end its open uploads."""
        arn = members.required_text("StreamARN")
        with self._lock:
            record = self.find(None, arn)
            _check_version(record, members.text("CurrentVersion"))
            self._store.delete_stream(arn).result()
            del self._streams[record.name]
        self._on_deleted(arn)
        return {}

    def update_data_retention(self, members: Members) -> JsonObject:
        """Handle UpdateDataRetention: increase or decrease the retention by a number of hours.

        The result must be between 0 and ten years.
        """
        with self._lock:
            record = self._of_version(members)
            operation = members.choice(
                "Operation", ("INCREASE_DATA_RETENTION", "DECREASE_DATA_RETENTION")
            )
            change = members.integer(
                "DataRetentionChangeInHours", 1, limits.SERVICE_MAX_RETENTION_HOURS
            )
            hours = record.retention_hours
            hours += change if operation == "INCREASE_DATA_RETENTION" else -change
            if not 0 <= hours <= limits.SERVICE_MAX_RETENTION_HOURS:
                raise invalid_argument(
                    f"The retention would become {hours} hours; it is 0 to"
                    f" {limits.SERVICE_MAX_RETENTION_HOURS}."
                )
            self._save(record.changed(new_version(self._dice), retention_hours=hours))
        return {}

    def tag_stream(self, members: Members) -> JsonObject:
        """Handle TagStream: add tags. A tag replaces an existing one with the same key."""
        with self._lock:
            record = self.of(members)
            tags = {**record.tags, **members.tags("Tags", 1, limits.SERVICE_MAX_TAGS)}
            if len(tags) > limits.SERVICE_MAX_TAGS:
                raise ServiceError(
                    "TagsPerResourceExceededLimitException",
                    f"A stream can have {limits.SERVICE_MAX_TAGS} tags.",
                )
            self._save(record.changed(record.version, tags=tags))
        return {}

    def untag_stream(self, members: Members) -> JsonObject:
        """Handle UntagStream: remove tags. Unknown keys are ignored."""
        with self._lock:
            record = self.of(members)
            keys = set(members.texts("TagKeyList", "TagKey", limits.SERVICE_MAX_TAGS))
            tags = {key: value for key, value in record.tags.items() if key not in keys}
            self._save(record.changed(record.version, tags=tags))
        return {}

    def list_tags_for_stream(self, members: Members) -> JsonObject:
        """Handle ListTagsForStream: return the tags, ordered by key."""
        record = self.of(members)
        after = members.position()
        keys = sorted(key for key in record.tags if key > after)
        page = keys[:_TAGS_PER_PAGE]
        return {
            "Tags": {key: record.tags[key] for key in page},
            "NextToken": next_token(page[-1]) if len(keys) > len(page) else None,
        }

    def describe_stream_storage_configuration(self, members: Members) -> JsonObject:
        """Handle DescribeStreamStorageConfiguration: return the storage tier of the stream."""
        record = self.of(members)
        return {
            "StreamName": record.name,
            "StreamARN": record.arn,
            "StreamStorageConfiguration": {"DefaultStorageTier": record.storage_tier},
        }

    def update_stream_storage_configuration(self, members: Members) -> JsonObject:
        """Handle UpdateStreamStorageConfiguration: store the tier. It has no other effect."""
        with self._lock:
            record = self._of_version(members)
            tier = _tier(members.required_object("StreamStorageConfiguration"))
            self._save(record.changed(new_version(self._dice), storage_tier=tier))
        return {}

    def get_data_endpoint(self, members: Members) -> JsonObject:
        """Handle GetDataEndpoint: check the request. The server adds DataEndpoint (its address)."""
        members.choice("APIName", wire.API_NAMES)
        self.of(members)
        return {}

    # --- changes ---------------------------------------------------------------------------
    def _of_version(self, members: Members) -> StreamRecord:
        version = members.required_text("CurrentVersion")
        record = self.of(members)
        _check_version(record, version)
        return record

    def _save(self, record: StreamRecord) -> None:
        self._store.save_stream(record).result()
        self._streams[record.name] = record


def _check_version(record: StreamRecord, version: str | None) -> None:
    if version is not None and version != record.version:
        raise ServiceError(
            "VersionMismatchException",
            "CurrentVersion is not the stream's version; call DescribeStream to get it.",
        )


def _tier(configuration: Members) -> str:
    return configuration.choice("DefaultStorageTier", ("HOT", "WARM"))


def _name_of(arn: str) -> str:
    """Return the stream's name from a valid ARN, or "" if it is not the ARN of a stream."""
    kind, name, _ = arn.rsplit("/", 2) if arn.count("/") == 2 else ("", "", "")
    return name if kind.endswith(":stream") else ""


OPERATIONS: Final[dict[str, Operation]] = {
    wire.PATHS["CreateStream"]: ControlPlane.create_stream,
    wire.PATHS["DescribeStream"]: ControlPlane.describe_stream,
    wire.PATHS["ListStreams"]: ControlPlane.list_streams,
    wire.PATHS["UpdateStream"]: ControlPlane.update_stream,
    wire.PATHS["DeleteStream"]: ControlPlane.delete_stream,
    wire.PATHS["UpdateDataRetention"]: ControlPlane.update_data_retention,
    wire.PATHS["TagStream"]: ControlPlane.tag_stream,
    wire.PATHS["UntagStream"]: ControlPlane.untag_stream,
    wire.PATHS["ListTagsForStream"]: ControlPlane.list_tags_for_stream,
    wire.PATHS["DescribeStreamStorageConfiguration"]: (
        ControlPlane.describe_stream_storage_configuration
    ),
    wire.PATHS["UpdateStreamStorageConfiguration"]: (
        ControlPlane.update_stream_storage_configuration
    ),
    wire.PATHS["GetDataEndpoint"]: ControlPlane.get_data_endpoint,
}
"""Path of a request -> operation."""
