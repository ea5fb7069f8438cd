"""The description of a producer's device: name, storage, time-outs.

Source: AWS's DeviceInfo (version 1), StorageInfo (0) and ClientInfo (3); limits from `limits`.
These are plain data. `from_dict` reads AWS's layout, in which durations are ticks. `validate`
raises the status of a violated limit. `resolved` returns a copy in which 0 is replaced by the
default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from difflib import get_close_matches
from enum import IntEnum
from os import PathLike, fspath
from typing import TYPE_CHECKING, Final, TypeVar

from kvsproducer import limits
from kvsproducer.duration import (
    INVALID_DURATION_VALUE,
    DurationField,
    as_timedelta,
    default_duration,
    durations_from_ticks,
    set_durations,
)
from kvsproducer.heap import StorageType
from kvsproducer.members import check_members
from kvsproducer.status import StatusCode, kvs_error

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["ClientInfo", "DeviceInfo", "StorageInfo", "StorageType", "validate_tags"]

_S = StatusCode


@dataclass(frozen=True, slots=True)
class StorageInfo:
    """Where a producer keeps frames until the service has stored them, and how many bytes.

    Attributes:
        storage_type: Memory (IN_MEM), or memory first and then files (HYBRID_FILE) or video memory
            (HYBRID_VIDEO_MEMORY). Default: IN_MEM.
        storage_size: Bytes for all streams of the producer together, 1 MiB to 10 GiB. Default:
            128 MiB.
        spill_ratio: Percentage of `storage_size` that is memory, for a hybrid type. This part has
            to be 1 MiB or more. Default: 0.
        root_directory: Folder in which HYBRID_FILE keeps its files.
        vram_library: Name or path of the library of HYBRID_VIDEO_MEMORY. Default: AWS's name.

    Raises INVALID_ARG for a value of another type. `Producer` raises INVALID_STORAGE_SIZE,
    INVALID_SPILL_RATIO and INVALID_ROOT_DIRECTORY_LENGTH. Source: AWS's StorageInfo.
    """

    storage_type: StorageType = StorageType.IN_MEM
    storage_size: int = limits.DEFAULT_STORAGE_SIZE_BYTES
    spill_ratio: int = 0
    root_directory: str = ""
    vram_library: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.root_directory, PathLike):
            object.__setattr__(self, "root_directory", fspath(self.root_directory))
        given: object = self.storage_type
        if isinstance(given, str):  # a wrong number is HEAP_FLAGS_ERROR, of the producer
            object.__setattr__(self, "storage_type", enum_member(StorageType, given))
        check_members(self)

    def validate(self) -> None:
        """Raise INVALID_STORAGE_SIZE, INVALID_SPILL_RATIO or INVALID_ROOT_DIRECTORY_LENGTH."""
        size = self.storage_size
        if not limits.MIN_STORAGE_SIZE_BYTES <= size <= limits.MAX_STORAGE_SIZE_BYTES:
            raise kvs_error(
                _S.INVALID_STORAGE_SIZE,
                f"StorageInfo.storage_size={size:,} bytes is not 1 MiB to 10 GiB",
            )
        if not 0 <= self.spill_ratio <= limits.MAX_SPILL_RATIO_PERCENT:
            raise kvs_error(
                _S.INVALID_SPILL_RATIO,
                f"StorageInfo.spill_ratio is {self.spill_ratio}; give 0 to 100 percent",
            )
        if len(self.root_directory) > limits.MAX_PATH_LEN:
            raise kvs_error(
                _S.INVALID_ROOT_DIRECTORY_LENGTH,
                f"StorageInfo.root_directory has {len(self.root_directory)} characters; "
                f"at most {limits.MAX_PATH_LEN} are allowed",
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> StorageInfo:
        """Return the `StorageInfo` that a versioned structure in AWS's layout describes.

        Raises INVALID_STORAGE_INFO_VERSION, INVALID_ARG.
        """
        values = read_versioned(
            cls, data, limits.STORAGE_INFO_VERSION, _S.INVALID_STORAGE_INFO_VERSION
        )
        return cls(**values)  # type: ignore[arg-type]


_DURATIONS: Final = (
    "stop_stream_timeout",
    "offline_buffer_availability_timeout",
    "reserved_callback_period",
    "service_call_completion_timeout",
    "service_call_connection_timeout",
)
_IGNORED: Final = frozenset(
    {"create_client_timeout", "create_stream_timeout", "log_metric", "metric_logging_period"}
)


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Timeouts and switches of a producer.

    Lengths of time are given as seconds (int or float), a `timedelta` or ISO 8601 text (`"PT5S"`),
    and are read as a `timedelta`; 0 stands for the default.

    Attributes:
        stop_stream_timeout: How long a stopped stream waits for its last acks. Default: 120 s.
        offline_buffer_availability_timeout: How long `put_frame` of an offline stream waits for
            space in the buffer while the service stores nothing. Default: 15 s.
        log_level: Lowest level of the messages that `PlatformCallbacks.log_print` gets, in AWS's
            numbers: 1 (verbose) to 7 (silent). Default: 4 (warnings).
        automatic_streaming_flags: 0: the open fragment of an idle stream is ended after 20 s
            (intermittent producer); 256: the fragment stays open. Default: 0.
        reserved_callback_period: How often idle streams are checked, 1 ms or more. Default: 5 s.
        service_call_completion_timeout: Limit of one call to the service. Default: 10 s.
        service_call_connection_timeout: Limit for opening the connection of a call. If it is above
            `service_call_completion_timeout`, both get their defaults. Default: 5 s.

    Raises INVALID_ARG for a length of time that is of another type, negative or too large, and
    INVALID_DURATION_VALUE for text that is not ISO 8601.
    """

    stop_stream_timeout: DurationField = default_duration(0)
    offline_buffer_availability_timeout: DurationField = default_duration(0)
    log_level: int = 4
    automatic_streaming_flags: int = 0
    reserved_callback_period: DurationField = default_duration(0)
    service_call_completion_timeout: DurationField = default_duration(0)
    service_call_connection_timeout: DurationField = default_duration(0)

    def __post_init__(self) -> None:
        set_durations(self, _DURATIONS)
        check_members(self)

    def validate(self) -> None:
        """Raise INVALID_TIMER_PERIOD_VALUE for a period between 0 and 1 ms."""
        period = self.reserved_callback_period
        if timedelta(0) < period < as_timedelta(limits.MIN_TIMER_PERIOD):
            raise kvs_error(
                _S.INVALID_TIMER_PERIOD_VALUE,
                f"reserved_callback_period is {period.total_seconds():g} seconds; give 0.001 or"
                " more, or 0 for the default",
            )

    def with_defaults(self) -> ClientInfo:
        """Return a copy with defaults instead of zeros."""
        completion = _or_default(
            self.service_call_completion_timeout, limits.DEFAULT_SERVICE_CALL_TIMEOUT
        )
        connection = _or_default(
            self.service_call_connection_timeout, limits.DEFAULT_CONNECTION_TIMEOUT
        )
        if connection > completion:
            completion = as_timedelta(limits.DEFAULT_SERVICE_CALL_TIMEOUT)
            connection = as_timedelta(limits.DEFAULT_CONNECTION_TIMEOUT)
        return replace(
            self,
            stop_stream_timeout=_or_default(self.stop_stream_timeout, limits.STREAM_CLOSED_TIMEOUT),
            offline_buffer_availability_timeout=_or_default(
                self.offline_buffer_availability_timeout, limits.MAX_BLOCKING_PUT_WAIT
            ),
            log_level=self.log_level if 0 < self.log_level <= 8 else 4,
            reserved_callback_period=_or_default(
                self.reserved_callback_period, limits.IDLE_CHECK_PERIOD
            ),
            service_call_completion_timeout=completion,
            service_call_connection_timeout=connection,
        )

    @property
    def intermittent(self) -> bool:
        """Whether the open fragment of a stream is ended automatically when the stream is idle."""
        return self.automatic_streaming_flags == 0

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ClientInfo:
        """Return the `ClientInfo` that a configuration file in AWS's layout describes.

        Durations are in ticks. 2**64 - 1 ticks ("no valid time") means the default, like 0.
        `create_client_timeout`, `create_stream_timeout`, `log_metric` and `metric_logging_period`
        are accepted and ignored, because this client does not use them. Raises
        INVALID_CLIENT_INFO_VERSION, INVALID_ARG and INVALID_DURATION_VALUE.
        """
        values = read_versioned(
            cls, data, limits.CLIENT_INFO_VERSION, _S.INVALID_CLIENT_INFO_VERSION, ignored=_IGNORED
        )
        for name in _DURATIONS:
            if values.get(name) == INVALID_DURATION_VALUE:
                values[name] = 0
        durations_from_ticks(values, _DURATIONS)
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a producer needs to know about the machine: its storage, timeouts and number of streams.

    Attributes:
        name: Device name that new streams get, up to 128 characters. Default: a random name.
        tags: Up to 50 tags, a mapping or (name, value) pairs. KVS has no devices, so only the
            callbacks of migrated C programs get the tags (`ApiCallbacks.tag_device`).
        storage_info: Where frames are kept, see `StorageInfo`. Default: 128 MiB of memory.
        stream_count: Streams that may be open at the same time, 1 to 1,000,000. Default: 100.
        client_id: Up to 64 characters for the callbacks of migrated C programs.
        client_info: Timeouts and switches, see `ClientInfo`.

    Raises INVALID_ARG for a value of another type. `Producer` raises MAX_STREAM_COUNT,
    MIN_STREAM_COUNT, INVALID_DEVICE_NAME_LENGTH, MAX_TAG_COUNT, INVALID_CLIENT_ID_STRING_LENGTH,
    and the statuses of `StorageInfo` and `ClientInfo`. Source: AWS's DeviceInfo.
    """

    name: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    storage_info: StorageInfo = field(default_factory=StorageInfo)
    stream_count: int = limits.DEFAULT_STREAM_COUNT
    client_id: str = ""
    client_info: ClientInfo = field(default_factory=ClientInfo)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tags_from(self.tags))
        check_members(self)

    def validate(self) -> None:
        """Raise the status of the first violated limit, in AWS's order."""
        if self.stream_count > limits.MAX_STREAM_COUNT:
            raise kvs_error(
                _S.MAX_STREAM_COUNT,
                f"DeviceInfo.stream_count is {self.stream_count}; "
                f"at most {limits.MAX_STREAM_COUNT} are allowed",
            )
        if self.stream_count < limits.MIN_STREAM_COUNT:
            raise kvs_error(
                _S.MIN_STREAM_COUNT,
                f"DeviceInfo.stream_count is {self.stream_count}; "
                f"give {limits.MIN_STREAM_COUNT} or more",
            )
        if len(self.name) > limits.MAX_DEVICE_NAME_LEN:
            raise kvs_error(
                _S.INVALID_DEVICE_NAME_LENGTH,
                f"DeviceInfo.name has {len(self.name)} characters; "
                f"at most {limits.MAX_DEVICE_NAME_LEN} are allowed",
            )
        self.storage_info.validate()
        validate_tags(self.tags)
        if len(self.client_id) > limits.MAX_CLIENT_ID_LEN:
            raise kvs_error(
                _S.INVALID_CLIENT_ID_STRING_LENGTH,
                f"DeviceInfo.client_id has {len(self.client_id)} characters; "
                f"at most {limits.MAX_CLIENT_ID_LEN} are allowed",
            )
        self.client_info.validate()

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> DeviceInfo:
        """Return the `DeviceInfo` that a configuration file in AWS's layout describes.

        Raises INVALID_DEVICE_INFO_VERSION, the statuses of the nested structures, and INVALID_ARG
        for an unknown member or a value of a wrong type.
        """
        values = read_versioned(
            cls, data, limits.DEVICE_INFO_VERSION, _S.INVALID_DEVICE_INFO_VERSION
        )
        for name, kind in (("storage_info", StorageInfo), ("client_info", ClientInfo)):
            if name in values:
                values[name] = kind.from_dict(mapping_from(name, values[name]))
        if data.get("version") == 0 and ("client_id" in values or "client_info" in values):
            raise kvs_error(
                _S.INVALID_ARG,
                "DeviceInfo of version 0 has neither client_id nor client_info; give version 1",
            )
        return cls(**values)  # type: ignore[arg-type]


def _or_default(duration: timedelta, default: int) -> timedelta:
    """Return `duration`, or the default (ticks) if it is 0."""
    return duration or as_timedelta(default)


# --- reading versioned structures; stream_info uses these too ----------------------------------
# The versions are those of AWS's structures. The code is here and not in `compat` because
# `from_dict` is public, and because AWS's test cases give every structure in every version.
_Member = TypeVar("_Member", bound=IntEnum)


def read_versioned(
    cls: type[DataclassInstance],
    data: Mapping[str, object],
    newest: int,
    status: StatusCode,
    *,
    ignored: Collection[str] = (),
) -> dict[str, object]:
    """Check the version of a structure; return its other members, except those in `ignored`."""
    if not isinstance(data, Mapping):
        raise kvs_error(
            _S.NULL_ARG, f"{cls.__name__} is {data!r:.100}; give a mapping of its members"
        )
    version = data.get("version", newest)
    if not isinstance(version, int) or not 0 <= version <= newest:
        raise kvs_error(
            status, f"{cls.__name__} has version {version!r}; versions 0 to {newest} are known"
        )
    values = {name: data[name] for name in data if name != "version" and name not in ignored}
    refuse_unknown(cls.__name__, values, [each.name for each in fields(cls)])
    return values


def refuse_unknown(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise INVALID_ARG for the first unknown name, and suggest the closest known one."""
    for name in given:
        if name not in known:
            near = get_close_matches(str(name), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"
            raise kvs_error(_S.INVALID_ARG, f"{owner} has no option {name!r}{hint}")


def enum_member(kind: type[_Member], value: object) -> _Member:
    """Return a member by name (any case, '-' or '_') or number; raise INVALID_ARG if unknown."""
    try:
        if isinstance(value, str):
            return kind[value.upper().replace("-", "_")]
        return kind(value)  # type: ignore[arg-type]
    except (KeyError, ValueError) as error:
        raise kvs_error(
            _S.INVALID_ARG,
            f"{value!r} is not a {kind.__name__}; give one of {', '.join(kind.__members__)}",
        ) from error


def mapping_from(name: str, value: object) -> Mapping[str, object]:
    """Return `value` if it is a mapping; raise NULL_ARG otherwise."""
    if not isinstance(value, Mapping):
        raise kvs_error(_S.NULL_ARG, f"{name} is {value!r:.100}; give a mapping of its members")
    return value


def tags_from(value: object) -> tuple[tuple[str, str], ...]:
    """Return tags from a mapping, or from a list of {name, value, version}.

    Raises DEVICE_TAGS_COUNT_NON_ZERO_TAGS_NULL for None, INVALID_TAG_VERSION, INVALID_ARG.
    """
    if isinstance(value, Mapping):
        return tuple((str(name), str(text)) for name, text in value.items())
    if not isinstance(value, list | tuple):
        raise kvs_error(
            _S.DEVICE_TAGS_COUNT_NON_ZERO_TAGS_NULL,
            f"tags is {value!r:.100}; give a mapping of names to values",
        )
    tags: list[tuple[str, str]] = []
    for tag in value:
        if isinstance(tag, Mapping):
            version = tag.get("version", limits.TAG_VERSION)
            if version != limits.TAG_VERSION:
                raise kvs_error(
                    _S.INVALID_TAG_VERSION,
                    f"a tag has version {version!r}; only {limits.TAG_VERSION} is known",
                )
            tags.append((str(tag.get("name", "")), str(tag.get("value", ""))))
        else:
            if not isinstance(tag, list | tuple) or len(tag) != 2:
                raise kvs_error(_S.INVALID_ARG, f"a tag is {tag!r}; give a (name, value) pair")
            name, text = tag
            tags.append((str(name), str(text)))
    return tuple(tags)


def validate_tags(tags: tuple[tuple[str, str], ...]) -> None:
    """Raise MAX_TAG_COUNT, INVALID_TAG_NAME_LEN or INVALID_TAG_VALUE_LEN."""
    if len(tags) > limits.MAX_TAG_COUNT:
        raise kvs_error(
            _S.MAX_TAG_COUNT,
            f"the stream or device has {len(tags)} tags; "
            f"at most {limits.MAX_TAG_COUNT} are allowed",
        )
    for name, value in tags:
        if len(name) > limits.MAX_TAG_NAME_LEN:
            raise kvs_error(
                _S.INVALID_TAG_NAME_LEN,
                f"the tag name {name[:32]!r}... has {len(name)} characters; "
                f"at most {limits.MAX_TAG_NAME_LEN} are allowed",
            )
        if len(value) > limits.MAX_TAG_VALUE_LEN:
            raise kvs_error(
                _S.INVALID_TAG_VALUE_LEN,
                f"the value of tag {name!r} has {len(value)} characters; "
                f"at most {limits.MAX_TAG_VALUE_LEN} are allowed",
            )
