"""Device descriptions: limits with their statuses, defaults, versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kvsproducer.client import ClientInfo, DeviceInfo, StorageInfo, StorageType
from kvsproducer.status import KvsError, StatusCode

SECOND = 10_000_000
BAD = {
    StatusCode.MAX_STREAM_COUNT: DeviceInfo(stream_count=1_000_001),
    StatusCode.MIN_STREAM_COUNT: DeviceInfo(stream_count=0),
    StatusCode.INVALID_DEVICE_NAME_LENGTH: DeviceInfo(name="n" * 129),
    StatusCode.INVALID_STORAGE_SIZE: DeviceInfo(storage_info=StorageInfo(storage_size=1)),
    StatusCode.INVALID_SPILL_RATIO: DeviceInfo(storage_info=StorageInfo(spill_ratio=101)),
    StatusCode.INVALID_ROOT_DIRECTORY_LENGTH: DeviceInfo(
        storage_info=StorageInfo(root_directory="r" * 4097)
    ),
    StatusCode.MAX_TAG_COUNT: DeviceInfo(tags=(("a", "b"),) * 51),
    StatusCode.INVALID_CLIENT_ID_STRING_LENGTH: DeviceInfo(client_id="c" * 65),
}


@pytest.mark.parametrize("status", BAD)
def test_each_limit_has_its_status(status: StatusCode) -> None:
    """The defaults are valid."""
    DeviceInfo().validate()
    with pytest.raises(KvsError) as caught:
        BAD[status].validate()
    assert caught.value.status is status


def test_time_outs_have_defaults_and_are_checked_together() -> None:
    """A connection time-out above that of the whole call resets both to their defaults."""
    info = ClientInfo(
        service_call_completion_timeout=1, service_call_connection_timeout=2
    ).with_defaults()
    assert info.service_call_completion_timeout == timedelta(seconds=10)
    assert info.service_call_connection_timeout == timedelta(seconds=5)
    assert info.offline_buffer_availability_timeout == timedelta(seconds=15)
    assert replace(info, log_level=9).with_defaults().log_level == 4
    assert info.intermittent


def test_from_dict_reads_the_versioned_form() -> None:
    """Nested structures have their own versions."""
    info = DeviceInfo.from_dict(
        {
            "version": 1,
            "name": "cam",
            "tags": {"place": "door"},
            "storage_info": {"storage_type": "hybrid-file", "spill_ratio": 50},
            "client_info": {"version": 3, "stop_stream_timeout": "PT2M"},
        }
    )
    assert info.tags == (("place", "door"),)
    assert info.storage_info.storage_type is StorageType.HYBRID_FILE
    assert info.client_info.stop_stream_timeout == timedelta(minutes=2)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"version": 2}, StatusCode.INVALID_DEVICE_INFO_VERSION),
        ({"version": 0, "client_id": "x"}, StatusCode.INVALID_ARG),
        ({"storage_info": {"version": 1}}, StatusCode.INVALID_STORAGE_INFO_VERSION),
        ({"client_info": {"version": 4}}, StatusCode.INVALID_CLIENT_INFO_VERSION),
        ({"storage_info": None}, StatusCode.NULL_ARG),
        ({"colour": 1}, StatusCode.INVALID_ARG),
        (None, StatusCode.NULL_ARG),
    ],
)
def test_invalid_data_has_its_status(data: Any, status: StatusCode) -> None:
    """The status names the problem in a configuration file."""
    with pytest.raises(KvsError) as caught:
        DeviceInfo.from_dict(data)
    assert caught.value.status is status


def test_tags_are_pairs_a_mapping_or_structures() -> None:
    """All three forms are equivalent; the store has its defaults."""
    forms = ({"a": "b"}, [["a", "b"]], [{"name": "a", "value": "b", "version": 0}])
    for tags in forms:
        info = DeviceInfo.from_dict({"tags": tags, "storage_info": {"storage_size": 1 << 20}})
        assert info.tags == (("a", "b"),)
        assert info.storage_info.storage_type is StorageType.IN_MEM


@pytest.mark.parametrize(
    ("period", "fine"), [(0, True), (0.000_001, False), (0.000_999, False), (0.001, True)]
)
def test_a_timer_period_is_at_least_a_millisecond(period: float, fine: bool) -> None:
    """0 means the default; AWS's timer queue has the same limit."""
    device = DeviceInfo(client_info=ClientInfo(reserved_callback_period=period))
    if fine:
        device.validate()
        return
    with pytest.raises(KvsError) as caught:
        device.validate()
    assert caught.value.status is StatusCode.INVALID_TIMER_PERIOD_VALUE


def test_invalid_time_in_a_configuration_file_is_the_default() -> None:
    """C programs write 2**64 - 1 ticks for a time that is not set."""
    unset = ClientInfo.from_dict({"stop_stream_timeout": 2**64 - 1})
    assert unset == ClientInfo()
    assert ClientInfo.from_dict({"stop_stream_timeout": 5 * SECOND}) != unset


@pytest.mark.parametrize("tag", ["place", ("place",), ("place", "door", "left"), 5])
def test_tag_must_be_a_pair(tag: object) -> None:
    """The error shows the tag."""
    with pytest.raises(KvsError, match=r"a tag is .*; give a \(name, value\) pair") as caught:
        DeviceInfo(tags=(tag,))  # type: ignore[arg-type]
    assert caught.value.status is StatusCode.INVALID_ARG


def test_root_directory_may_be_a_path() -> None:
    """And the storage type a text; the members hold text and `StorageType`."""
    info = StorageInfo(storage_type="in-mem", root_directory=Path("frames"))  # type: ignore[arg-type]
    assert (info.storage_type, info.root_directory) == (StorageType.IN_MEM, "frames")
