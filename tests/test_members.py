"""Members of public structures: a wrong type is refused where the structure is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer.status import InvalidConfiguration, StatusCode

WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (kvs.StorageInfo, {"storage_size": "1"}, "StorageInfo.storage_size is '1' (str); give an int"),
    (kvs.StorageInfo, {"storage_size": 1.5e9}, "give an int"),
    (kvs.StorageInfo, {"storage_size": True}, "give an int"),
    (kvs.StorageInfo, {"storage_type": "tape"}, "'tape'"),
    (kvs.StorageInfo, {"root_directory": 5}, "StorageInfo.root_directory is 5 (int); give a str"),
    (kvs.ClientInfo, {"log_level": "debug"}, "ClientInfo.log_level"),
    (kvs.ClientInfo, {"automatic_streaming_flags": "x"}, "give an int"),
    (kvs.ClientInfo, {"stop_stream_timeout": None}, "stop_stream_timeout"),
    (kvs.DeviceInfo, {"name": None}, "DeviceInfo.name is None (NoneType); give a str"),
    (kvs.DeviceInfo, {"stream_count": "3"}, "give an int"),
    (kvs.DeviceInfo, {"tags": ["door"]}, "give a (name, value) pair"),
    (kvs.DeviceInfo, {"storage_info": 5}, "give an instance of StorageInfo"),
    (kvs.DeviceInfo, {"client_info": {}}, "give an instance of ClientInfo"),
    (kvs.StreamInfo, {"content_type": 5}, "StreamInfo.content_type is 5 (int); give a str"),
    (kvs.StreamInfo, {"tracks": 5}, "tracks is 5; give a list of tracks"),
    (kvs.StreamInfo, {"tracks": [5]}, "a track is 5; give a TrackInfo"),
    (kvs.StreamInfo, {"kms_key_id": None}, "give a str"),
    (kvs.StreamInfo, {"fragment_acks": "no"}, "fragment_acks is 'no' (str); give True or False"),
    (kvs.StreamInfo, {"key_frame_fragmentation": 1}, "give True or False"),
    (kvs.StreamInfo, {"segment_uuid": "x"}, "give 16 bytes"),
    (kvs.StreamInfo, {"tags": [5]}, "give a (name, value) pair"),
    (kvs.ServiceConfig, {"continuous_retry": "no"}, "give True or False"),
    (kvs.ServiceConfig, {"use_fips_endpoint": "yes"}, "give True, False or None"),
    (kvs.TrackInfo, {"track_id": "1", "track_type": 1, "codec_id": "V"}, "TrackInfo.track_id"),
    (kvs.TrackInfo, {"track_id": 1, "track_type": 1, "codec_id": None}, "TrackInfo.codec_id"),
]


@pytest.mark.parametrize(("kind", "members", "words"), WRONG, ids=range(len(WRONG)))
def test_wrong_type_is_refused(kind: Any, members: dict[str, Any], words: str) -> None:
    """Each names the member, its value and what to give; all had been bare TypeErrors, or later."""
    with pytest.raises(InvalidConfiguration) as caught:
        kind(**members)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert words in caught.value.detail


def test_right_types_are_kept_or_converted() -> None:
    """Paths, names of enum members and lists are converted."""
    storage = kvs.StorageInfo(storage_type="in_mem", root_directory=Path("/x"))  # type: ignore[arg-type]
    assert (storage.storage_type, storage.root_directory) == (kvs.StorageType.IN_MEM, "/x")
    track = kvs.TrackInfo(1, kvs.TrackType.AUDIO, "A_AAC", sampling_frequency=8000)
    assert kvs.StreamInfo(tracks=[track]).tracks == (track,)  # type: ignore[arg-type]
    assert kvs.DeviceInfo(tags={"a": "b"}).tags == (("a", "b"),)  # type: ignore[arg-type]
