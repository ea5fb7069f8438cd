"""Deliberate differences of packaging: in which cases our result differs, and which fields may.

A rule looks at the input only; `differences.toml` has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import oracle
from common import Case, input_bytes

from kvsproducer.codecs.nal import VideoCodec
from kvsproducer.mkv import NalAdaptation, TrackInfo, TrackType
from kvsproducer.mkv.adaptation import FrameAdapter
from kvsproducer.mkv.codec_private import video_codec
from kvsproducer.status import KvsError

_TYPES = {"video": TrackType.VIDEO, "audio": TrackType.AUDIO, "unknown": TrackType.UNKNOWN}
ADAPTATIONS = {
    "annexb": NalAdaptation.ANNEXB_NALS,
    "avcc": NalAdaptation.AVCC_NALS,
    "cpd_annexb": NalAdaptation.ANNEXB_CPD_NALS,
}
_C_TOKENS = frozenset(
    ("video/h264", "video/h265", "video/x-matroska", "audio/aac", "audio/alaw", "audio/mulaw")
)


def data_of(value: Any) -> bytes | None:
    """Return a byte value of an input; None for a size without data."""
    return None if "null_with_size" in value else input_bytes(value)


def track_of(config: Mapping[str, Any]) -> TrackInfo:
    return TrackInfo(
        int(config["id"]),
        _TYPES[config["type"]],
        config["codec_id"],
        config["name"],
        data_of(config["cpd"]),  # type: ignore[arg-type]  # None is tested on purpose
        width=config.get("width", 0),
        height=config.get("height", 0),
        sampling_frequency=config.get("freq", 0),
        channels=config.get("channels", 0),
        bit_depth=config.get("bits", 0),
    )


@dataclass
class Relaxed:
    """The fields of a case that may differ, by its rules."""

    tracks: set[int] = field(default_factory=set)  # ids: private data and figures may differ
    create_status: int | None = None  # our status of create
    header_length_16_bits: bool = False
    frames: bool = False  # the C producer reads some Annex-B frames differently


def _known_to_c(content_type: str) -> str:
    """Return the tokens of a content type that the C producer recognises."""
    return ",".join(token for token in content_type.split(",") if token in _C_TOKENS)


def tracks_of(case: Case) -> Iterator[tuple[TrackInfo, VideoCodec | None, VideoCodec | None]]:
    """Yield each track, its codec for us and its codec for the C producer."""
    content_type = case["config"]["content_type"]
    for track in case["config"]["tracks"]:
        info = track_of(track)
        yield info, video_codec(info, content_type), video_codec(info, _known_to_c(content_type))


def _content_type(case: Case, relaxed: Relaxed) -> None:
    convert = "cpd_annexb" in case["config"]["adapt"]
    content_type = case["config"]["content_type"]
    for track, ours, theirs in tracks_of(case):
        if not track.codec_private_data:
            continue
        zeroed = convert and theirs is None and track.track_type is TrackType.VIDEO
        audio = track.track_type is TrackType.AUDIO and _known_to_c(content_type) != content_type
        if zeroed or audio or ours is not theirs:
            relaxed.tracks.add(track.track_id)


def _extracted_cpd(case: Case, relaxed: Relaxed) -> None:
    for track, ours, _ in tracks_of(case):
        if ours and not track.codec_private_data and "annexb" in case["config"]["adapt"]:
            relaxed.tracks.add(track.track_id)


def _changed_sets(case: Case, relaxed: Relaxed) -> None:
    adaptation = NalAdaptation.NONE
    for name in case["config"]["adapt"]:
        adaptation |= ADAPTATIONS[name]
    tracks = [track for track, _, _ in tracks_of(case)]
    content_type = case["config"]["content_type"]
    try:
        adapter = FrameAdapter(tracks, adaptation, content_type=content_type)
    except KvsError:
        return
    for step in case["steps"]:
        if step["op"] != "frame" or "K" not in step["flags"]:
            continue
        track = int(step["track"])
        try:
            buffers, _ = adapter.adapt(track, data_of(step["data"]) or b"")
        except KvsError:
            continue
        if adapter.codec_private_data(track, buffers) is not None:
            relaxed.tracks.add(track)


def _records(case: Case, relaxed: Relaxed) -> None:
    convert = "cpd_annexb" in case["config"]["adapt"]
    for track, ours, _ in tracks_of(case):
        data = track.codec_private_data
        later = _set_later(case, track)
        if any(
            ours or info.codec_id == "V_MS/VFW/FOURCC" or _odd_aac(info)
            for info in [track, *later]
            if info.codec_private_data
        ):
            relaxed.tracks.add(track.track_id)
        if convert and ours and data and relaxed.create_status in (None, 0):
            relaxed.create_status = conversion_status(data, ours)


def _set_later(case: Case, track: TrackInfo) -> list[TrackInfo]:
    """Return the track with each codec private data that a step sets."""
    return [
        replace(track, codec_private_data=data_of(step["cpd"]) or b"")
        for step in case["steps"]
        if step["op"] == "set_cpd" and int(step["track"]) == track.track_id
    ]


def _odd_aac(track: TrackInfo) -> bool:
    """Return True for eight channels, an escaped object type or an explicit sample rate."""
    if track.track_type is not TrackType.AUDIO or len(track.codec_private_data) < 2:
        return False
    word = int.from_bytes(track.codec_private_data[:2])
    return word >> 11 == 31 or word >> 7 & 15 == 15 or word >> 3 & 15 == 7


def conversion_status(data: bytes, codec: VideoCodec) -> int:
    """Return the right status of a request to convert this private data."""
    try:
        record_of(data, codec)
    except oracle.Refused as refusal:
        return int(refusal.args[0])
    return 0


def record_of(data: bytes, codec: VideoCodec) -> bytes:
    """Return the right avcC or hvcC for private data; raise `oracle.Refused` if there is none."""
    return (oracle.h264_record if codec is VideoCodec.H264 else oracle.h265_record)(data)


def _long_header(_: Case, relaxed: Relaxed) -> None:
    relaxed.header_length_16_bits = True


def _annexb_frames(case: Case, relaxed: Relaxed) -> None:
    relaxed.frames = "annexb" in case["config"]["adapt"]


RULES: dict[str, Callable[[Case, Relaxed], None]] = {
    "content_type": _content_type,
    "extracted_cpd": _extracted_cpd,
    "changed_sets": _changed_sets,
    "records": _records,
    "long_header": _long_header,
    "annexb_frames": _annexb_frames,
}
