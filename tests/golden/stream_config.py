"""The configuration of a stream case as the descriptions that the core takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mkv_rules import data_of

from kvsproducer import client as kvs
from kvsproducer.mkv import TrackInfo, TrackType

HOUR = 36_000_000_000
SECOND = 10_000_000

_TYPES = {"video": TrackType.VIDEO, "audio": TrackType.AUDIO, "unknown": TrackType.UNKNOWN}


def stream_info(config: Mapping[str, Any]) -> kvs.StreamInfo:
    tracks: Any = [
        TrackInfo(
            track["id"],
            _TYPES[track["type"]],
            track["codec_id"],
            track["name"],
            data_of(track["cpd"]),
        )
        for track in config["tracks"]
    ]
    if config.get("track_list_null"):
        tracks = None
    tags: Any = [
        {
            "name": "n" * config.get("tag_name_length", 3),
            "value": "v" * config.get("tag_value_length", 3),
            "version": config.get("tag_version", 0),
        }
    ] * config.get("tag_count", 0)
    if config.get("tags_null"):
        tags = None
    return kvs.StreamInfo.from_dict(
        {
            "version": config.get("stream_info_version", 3),
            "name": "s" * config.get("stream_name_length", 6),
            "content_type": config["content_type"],
            "tracks": tracks,
            "retention": config.get("retention", 2 * HOUR),
            "tags": tags,
            "kms_key_id": "k" * config.get("kms_key_length", 0),
            "streaming_type": config.get("streaming_type", 0),
            "max_latency": config.get("max_latency", 0),
            "fragment_duration": config["fragment_duration"],
            "key_frame_fragmentation": bool(config.get("key_frame_fragmentation", 1)),
            "frame_timecodes": bool(config.get("frame_timecodes", 1)),
            "absolute_fragment_times": bool(config.get("absolute_fragment_times", 1)),
            "fragment_acks": bool(config.get("fragment_acks", 1)),
            "recover_on_error": bool(config.get("recover_on_error", 1)),
            "nal_adaptation": config.get("adapt_flags", 0),
            "frame_rate": config.get("frame_rate", 25),
            "buffer_duration": config.get("buffer_duration", 120 * SECOND),
            "replay_duration": config.get("replay_duration", 60 * SECOND),
            "connection_staleness_duration": config.get("connection_staleness", 0),
            "timecode_scale": config["timecode_scale"],
            "segment_uuid": bytes.fromhex(config["segment_uuid"]),
            "frame_order_mode": config.get("frame_order_mode", 0),
            "store_pressure_policy": config.get("store_pressure_policy", "drop_tail_item"),
            "view_overflow_policy": config.get("view_overflow_policy", "drop_until_fragment_start"),
            "allow_stream_creation": bool(config.get("allow_stream_creation", 1)),
        }
    )


def device_info(config: Mapping[str, Any]) -> kvs.DeviceInfo:
    return kvs.DeviceInfo.from_dict(
        {
            "version": config.get("device_info_version", 1),
            "name": "d" * config.get("device_name_length", 6),
            "stream_count": config.get("device_stream_count", 1),
            "client_id": config["client_id"],
            "storage_info": {
                "version": config.get("storage_info_version", 0),
                "storage_size": config.get("storage_size", 64 * 1024 * 1024),
            },
            "client_info": {
                "version": config.get("client_info_version", 3),
                "offline_buffer_availability_timeout": config.get("offline_wait", 0),
                "automatic_streaming_flags": 256,
            },
        }
    )
