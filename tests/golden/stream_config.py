"""Convert the configuration of a stream case to the options of the core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mkv_rules import data_of

from kvsproducer import client as kvs
from kvsproducer.mkv import TrackInfo, TrackType

HOUR = 36_000_000_000
SECOND = 10_000_000

_TYPES = {"video": TrackType.VIDEO, "audio": TrackType.AUDIO, "unknown": TrackType.UNKNOWN}


def not_expressed(config: Mapping[str, Any]) -> str:
    """Return the options of a case that we do not have or do not read, or ""."""
    unread = [key for key in config if key not in _READ and not any(x in key for x in _NAMED)]
    return ", ".join(f"config {key}{_why(key)}" for key in sorted(unread))


def _why(key: str) -> str:
    callbacks = "callback" in key
    return ": there are no structures of callbacks, and so no versions of them" * callbacks


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
    version = config.get("device_info_version", 1)
    storage = {
        "version": config.get("storage_info_version", 0),
        "storage_size": config.get("storage_size", 64 * 1024 * 1024),
    }
    spill, root = _named(config, "spill_ratio"), _named(config, "root_directory")
    if spill is not None:
        storage["spill_ratio"] = spill
    if root is not None:
        storage["root_directory"] = root if isinstance(root, str) else "r" * root
    info = {
        "version": version,
        "name": "d" * config.get("device_name_length", 6),
        "stream_count": config.get("device_stream_count", 1),
        "storage_info": storage,
    }
    if version:  # version 0 of the structure ends before these
        info["client_id"] = config["client_id"]
        info["client_info"] = {
            "version": config.get("client_info_version", 3),
            "offline_buffer_availability_timeout": config.get("offline_wait", 0),
            "automatic_streaming_flags": 256,
        }
    return kvs.DeviceInfo.from_dict(info)


def _named(config: Mapping[str, Any], name: str) -> Any:
    """Return the value of the key that contains `name`; keys begin with a structure's name."""
    return next((value for key, value in config.items() if name in key), None)


_NAMED = ("spill_ratio", "root_directory")
_READ = {
    "absolute_fragment_times",
    "adapt_flags",
    "allow_stream_creation",
    "arn_length",
    "buffer_duration",
    "client_id",
    "client_info_version",
    "clock",
    "connection_staleness",
    "content_type",
    "describe_null",
    "describe_status",
    "device_info_version",
    "device_name_length",
    "device_stream_count",
    "endpoint_length",
    "fragment_acks",
    "fragment_duration",
    "frame_order_mode",
    "frame_rate",
    "frame_timecodes",
    "key_frame_fragmentation",
    "kms_key_length",
    "max_latency",
    "offline_wait",
    "put_answer_deferred",
    "recover_on_error",
    "replay_duration",
    "retention",
    "security_token_expiration",
    "security_token_length",
    "segment_uuid",
    "storage_info_version",
    "storage_size",
    "store_pressure_policy",
    "stream_info_version",
    "stream_name_length",
    "streaming_type",
    "tag_count",
    "tag_name_length",
    "tag_value_length",
    "tag_version",
    "tags_null",
    "timecode_scale",
    "token_expiration",
    "token_length",
    "track_list_null",
    "tracks",
    "view_overflow_policy",
}
