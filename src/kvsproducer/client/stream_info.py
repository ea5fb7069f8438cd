"""What a stream is: names, tracks, buffers, policies.

Facts: AWS's StreamInfo (version 3) with its StreamCaps, and the C producer's stream info creators
(`video`, `audio`, `audio_video`). Plain data: `from_dict` reads the versioned form of
configuration files, `validate` gives each limit its status, `resolved` fills in the defaults that a
0 stands for. Durations are ticks at rest; the creators also take `timedelta` and ISO 8601 text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import IntEnum
from typing import Final

from kvsproducer import limits
from kvsproducer.client.device_info import enum_member, tags_from, validate_tags, versioned
from kvsproducer.client.presets import audio_track, complete_sound, video_track
from kvsproducer.duration import (
    TICKS_PER_SECOND,
    DurationField,
    default_ticks,
    durations_to_ticks,
    format_duration,
    to_ticks,
)
from kvsproducer.mkv.tracks import NalAdaptation, TrackInfo, TrackType
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.utils import base64_decode, hex_decode

__all__ = [
    "FrameOrderMode",
    "NalAdaptation",
    "StorePressurePolicy",
    "StreamInfo",
    "StreamingType",
    "ViewOverflowPolicy",
]

_S = StatusCode


class StreamingType(IntEnum):
    """REALTIME and NEAR_REALTIME drop the oldest when full; OFFLINE waits and loses nothing."""

    REALTIME = 0
    NEAR_REALTIME = 1
    OFFLINE = 2


class FrameOrderMode(IntEnum):
    """How frames of several tracks are put in order.

    PASS_THROUGH: as put. The others hold a frame until every track has one and emit the smallest
    dts or pts first; COMPENSATE adds a timecode unit on a tie; EOFR allows end-of-fragment frames.
    """

    PASS_THROUGH = 0
    MULTI_TRACK_NO_COMPARISON = 1
    DTS_ONE_MS_COMPENSATE = 2
    PTS_ONE_MS_COMPENSATE = 3
    DTS_ONE_MS_COMPENSATE_EOFR = 4
    PTS_ONE_MS_COMPENSATE_EOFR = 5


class StorePressurePolicy(IntEnum):
    """When the store is full: refuse the new frame (OOM) or drop the oldest ones."""

    OOM = 0
    DROP_TAIL_ITEM = 1


class ViewOverflowPolicy(IntEnum):
    """What is dropped at once: one frame, or everything up to the next fragment."""

    DROP_TAIL_VIEW_ITEM = 0
    DROP_UNTIL_FRAGMENT_START = 1


_TIMES: Final = (
    "retention",
    "max_latency",
    "fragment_duration",
    "buffer_duration",
    "replay_duration",
    "connection_staleness_duration",
)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream's description; durations in ticks, `frame_rate` in frames/s (it sizes the view).

    Durations may be given as a `timedelta` or as text (`"PT2M"`) too; raises as `to_ticks`.

    `frame_rate` is also what a video frame put without a duration lasts, once it is set: the
    default of 120 only leaves room for any source, and such frames then have no duration.
    `retention` 0 means that the service stores nothing; `buffer_duration` bounds what is held,
    `replay_duration` what is sent again after a lost connection; `max_latency` and
    `connection_staleness_duration` 0 switch their events off.
    """

    name: str = ""
    content_type: str = "video/h264"
    tracks: tuple[TrackInfo, ...] = ()
    retention: DurationField = default_ticks(limits.STREAM_INFO_RETENTION)
    tags: tuple[tuple[str, str], ...] = ()
    kms_key_id: str = ""
    streaming_type: StreamingType = StreamingType.REALTIME
    adaptive: bool = False
    max_latency: DurationField = default_ticks(0)
    fragment_duration: DurationField = default_ticks(limits.STREAM_INFO_FRAGMENT_DURATION)
    key_frame_fragmentation: bool = True
    frame_timecodes: bool = True
    absolute_fragment_times: bool = True
    fragment_acks: bool = True
    recover_on_error: bool = True
    nal_adaptation: NalAdaptation = NalAdaptation.NONE
    avg_bandwidth_bps: int = limits.STREAM_INFO_BANDWIDTH_BPS
    frame_rate: int = limits.STREAM_INFO_FRAME_RATE
    buffer_duration: DurationField = default_ticks(limits.STREAM_INFO_BUFFER_DURATION)
    replay_duration: DurationField = default_ticks(limits.STREAM_INFO_BUFFER_DURATION // 2)
    connection_staleness_duration: DurationField = default_ticks(0)
    timecode_scale: int = limits.STREAM_INFO_TIMECODE_SCALE
    recalculate_metrics: bool = True
    segment_uuid: bytes | None = None
    frame_order_mode: FrameOrderMode = FrameOrderMode.PASS_THROUGH
    store_pressure_policy: StorePressurePolicy = StorePressurePolicy.DROP_TAIL_ITEM
    view_overflow_policy: ViewOverflowPolicy = ViewOverflowPolicy.DROP_UNTIL_FRAGMENT_START
    allow_stream_creation: bool = True

    def __post_init__(self) -> None:
        durations_to_ticks(self, _TIMES)

    # --- creators -------------------------------------------------------------------------------
    @classmethod
    def video(
        cls, codec: str = "h264", *, codec_private_data: bytes = b"", **overrides: object
    ) -> StreamInfo:
        """One video track, `codec` "h264" or "h265", Annex-B or AVCC adapted by `nal_adaptation`.

        `codec_private_data` is the avcC or hvcC record of the encoder or file (PyAV: extradata).
        With it, frames have length prefixes unless `nal_adaptation` says otherwise. Parameter sets
        behind start codes will do too, for frames with start codes. By default the record is made
        of the first key frame's parameter sets. Any field may be overridden by name. Raises
        INVALID_ARG for another codec or field.
        """
        track, media = _with_data(video_track(codec), codec_private_data)
        _adapt_to_record(codec_private_data, overrides)
        return cls._made((track,), media, overrides)

    @classmethod
    def audio(
        cls, codec: str = "aac", *, codec_private_data: bytes = b"", **overrides: object
    ) -> StreamInfo:
        """One audio track, `codec` "aac", "alaw" or "mulaw"; otherwise as `video`.

        `codec_private_data` is the AudioSpecificConfig of AAC, which frames with ADTS headers give
        too, or the WAVEFORMATEX of G.711 (default: 8000 Hz, one channel).
        """
        track, media = _with_data(
            audio_track(codec, limits.AUDIO_ONLY_TRACK_ID), codec_private_data
        )
        return cls._made((track,), media, overrides)

    @classmethod
    def audio_video(
        cls,
        video_codec: str = "h264",
        audio_codec: str = "aac",
        *,
        video_private_data: bytes = b"",
        audio_private_data: bytes = b"",
        **overrides: object,
    ) -> StreamInfo:
        """A video track (id 1) and an audio track (id 2), ordered by pts; otherwise as `video`.

        `video_private_data` and `audio_private_data` are the `codec_private_data` of each.
        """
        video, video_media = _with_data(video_track(video_codec), video_private_data)
        audio, audio_media = _with_data(
            audio_track(audio_codec, limits.AUDIO_TRACK_ID), audio_private_data
        )
        overrides.setdefault("frame_order_mode", FrameOrderMode.PTS_ONE_MS_COMPENSATE_EOFR)
        _adapt_to_record(video_private_data, overrides)
        return cls._made((video, audio), f"{video_media},{audio_media}", overrides)

    @classmethod
    def _made(
        cls, tracks: tuple[TrackInfo, ...], content_type: str, overrides: dict[str, object]
    ) -> StreamInfo:
        buffer = _duration(overrides.get("buffer_duration", limits.STREAM_INFO_BUFFER_DURATION))
        values: dict[str, object] = {
            "tracks": tracks,
            "content_type": content_type,
            "replay_duration": int(buffer * limits.STREAM_INFO_REPLAY_FACTOR),
            "max_latency": int(buffer * limits.STREAM_INFO_LATENCY_FACTOR),
            "connection_staleness_duration": limits.STREAM_INFO_STALENESS_DURATION,
            "nal_adaptation": NalAdaptation.ANNEXB_NALS | NalAdaptation.ANNEXB_CPD_NALS,
            "adaptive": True,
            **overrides,
        }
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> StreamInfo:
        """From the versioned form of a configuration file.

        Older versions mean what they meant to AWS's client: version 0 orders one video and one
        audio track by pts, versions up to 1 refuse frames when the store is full and drop frame by
        frame, versions up to 2 allow stream creation. Raises INVALID_STREAM_INFO_VERSION,
        TRACK_INFO_MISSING for `tracks: null`, INVALID_ARG for an unknown member or value.
        """
        values = versioned(cls, data, limits.STREAM_INFO_VERSION, _S.INVALID_STREAM_INFO_VERSION)
        for name, kind in _ENUMS.items():
            if name in values:
                values[name] = enum_member(kind, values[name])
        if "nal_adaptation" in values:
            values["nal_adaptation"] = _nal_flags(values["nal_adaptation"])
        if "tags" in values:
            values["tags"] = tags_from(values["tags"])
        if "tracks" in values:
            values["tracks"] = _tracks(values["tracks"])
        version = data.get("version", limits.STREAM_INFO_VERSION)
        assert isinstance(version, int), "versioned() has checked it"
        _apply_version(values, version)
        return cls(**values)  # type: ignore[arg-type]

    # --- checks ---------------------------------------------------------------------------------
    def validate(self) -> None:
        """Raise the status of the first limit that is not held, in AWS's order."""
        if len(self.name) > limits.MAX_STREAM_NAME_LEN:
            raise kvs_error(
                _S.INVALID_STREAM_NAME_LENGTH,
                f"the stream's name has {len(self.name)} characters,"
                f" at most {limits.MAX_STREAM_NAME_LEN} are allowed",
            )
        validate_tags(self.tags)
        if len(self.kms_key_id) > limits.MAX_ARN_LEN:
            raise kvs_error(_S.INVALID_ARG_LEN, f"KMS key id of {len(self.kms_key_id)} characters")
        if self.retention and self.retention < limits.MIN_RETENTION_PERIOD:
            raise kvs_error(
                _S.INVALID_RETENTION_PERIOD,
                f"retention is {format_duration(self.retention)}, below 1 hour (PT1H)",
            )
        self._validate_tracks()
        offline = self.streaming_type is StreamingType.OFFLINE
        if offline and not (self.retention and self.fragment_acks):
            raise kvs_error(
                _S.OFFLINE_MODE_WITH_ZERO_RETENTION,
                "offline streaming needs a retention and fragment acks: nothing else tells that a "
                "frame is stored",
            )

    def _validate_tracks(self) -> None:
        if not self.tracks:
            raise kvs_error(_S.TRACK_INFO_MISSING, "a stream has 1 to 3 tracks")
        if len(self.tracks) > limits.MAX_TRACK_COUNT:
            raise kvs_error(_S.MAX_TRACK_COUNT_EXCEEDED, f"{len(self.tracks)} tracks, at most 3")
        seen: set[int] = set()
        for track in self.tracks:
            if track.track_id < limits.MIN_TRACK_ID:
                raise kvs_error(_S.MKV_INVALID_TRACK_UID, f"track id {track.track_id}")
            if track.track_id in seen:
                raise kvs_error(_S.DUPLICATE_TRACK_ID_FOUND, f"track id {track.track_id}")
            seen.add(track.track_id)

    @property
    def frame_duration(self) -> int:
        """What a video frame without a duration of its own lasts, in ticks; 0 when not known."""
        if self.frame_rate in (0, limits.STREAM_INFO_FRAME_RATE):
            return 0
        return TICKS_PER_SECOND // self.frame_rate

    def named(self, name: str) -> StreamInfo:
        """The same with another name."""
        return replace(self, name=name)

    def resolved(self) -> StreamInfo:
        """Return a copy with defaults in place of zeros, and without what its type rules out."""
        offline = self.streaming_type is StreamingType.OFFLINE
        return replace(
            self,
            tracks=tuple(complete_sound(track, self.content_type) for track in self.tracks),
            timecode_scale=self.timecode_scale or limits.DEFAULT_TIMECODE_SCALE,
            frame_rate=self.frame_rate or limits.DEFAULT_FRAME_RATE,
            replay_duration=min(self.replay_duration, self.buffer_duration),
            buffer_duration=self.buffer_duration or limits.DEFAULT_BUFFER_DURATION,
            max_latency=0 if offline else self.max_latency,
            connection_staleness_duration=0 if offline else self.connection_staleness_duration,
        )


def _with_data(preset: tuple[TrackInfo, str], data: bytes) -> tuple[TrackInfo, str]:
    """A preset track with the codec private data of a caller; raises INVALID_ARG if not bytes."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise kvs_error(
            _S.INVALID_ARG, f"codec_private_data is of type {type(data).__name__}; give bytes"
        )
    track, media = preset
    return replace(track, codec_private_data=bytes(data)), media


def _adapt_to_record(data: bytes, overrides: dict[str, object]) -> None:
    """Frames beside an avcC or hvcC record (version 1) have lengths already."""
    if bytes(data[:1]) == b"\1":
        overrides.setdefault("nal_adaptation", NalAdaptation.NONE)


_ENUMS: dict[str, type[IntEnum]] = {
    "streaming_type": StreamingType,
    "frame_order_mode": FrameOrderMode,
    "store_pressure_policy": StorePressurePolicy,
    "view_overflow_policy": ViewOverflowPolicy,
}


def _duration(value: object) -> int:
    if isinstance(value, int | str | timedelta):
        return to_ticks(value)
    raise kvs_error(_S.INVALID_ARG, f"{value!r} is not a duration")


def _nal_flags(value: object) -> NalAdaptation:
    if isinstance(value, int):
        return NalAdaptation(value)
    raise kvs_error(_S.INVALID_ARG, f"{value!r} is no NalAdaptation")


def _tracks(value: object) -> tuple[TrackInfo, ...]:
    if value is None:
        raise kvs_error(_S.TRACK_INFO_MISSING, "tracks is null")
    if not isinstance(value, list | tuple):
        raise kvs_error(_S.INVALID_ARG, f"tracks is {value!r}")
    return tuple(_track(track) for track in value)


def _track(value: object) -> TrackInfo:
    if isinstance(value, TrackInfo):
        return value
    if not isinstance(value, Mapping):
        raise kvs_error(_S.INVALID_ARG, f"track is {value!r}")
    values = {name: item for name, item in value.items() if name != "version"}
    private_data = values.pop("codec_private_data", b"")
    if isinstance(private_data, str):
        private_data = _codec_private_data(private_data)
    try:
        kind = enum_member(TrackType, values.pop("track_type", TrackType.VIDEO))
        return TrackInfo(track_type=kind, codec_private_data=private_data, **values)
    except (TypeError, ValueError) as error:
        raise kvs_error(_S.INVALID_ARG, f"track: {error}") from error


def _codec_private_data(text: str) -> bytes:
    """From hexadecimal text, or base64 behind `base64:`, or SDP's `sprop-parameter-sets=`.

    The parameter sets become Annex B units, for `NalAdaptation.ANNEXB_CPD_NALS`. Raises the codes
    of `utils.hex_decode` and `utils.base64_decode`.
    """
    kind, mark, rest = text.partition("=")
    if mark and kind.strip() == "sprop-parameter-sets":
        return b"".join(b"\0\0\0\1" + base64_decode(unit) for unit in rest.strip().split(","))
    if text.startswith("base64:"):
        return base64_decode(text.removeprefix("base64:"))
    return hex_decode(text) if text else b""


def _apply_version(values: dict[str, object], version: int) -> None:
    """Set what a member that did not exist in `version` meant to the client of that time.

    It is here, and not in `compat`, because `StreamInfo.from_dict` is public and AWS's cases give
    streams in every version.
    """
    if version < 1:
        tracks = values.get("tracks", ())
        assert isinstance(tracks, tuple), "_tracks() made it"
        kinds = sorted(track.track_type for track in tracks)
        paired = kinds == [TrackType.VIDEO, TrackType.AUDIO]
        values["frame_order_mode"] = (
            FrameOrderMode.PTS_ONE_MS_COMPENSATE if paired else FrameOrderMode.PASS_THROUGH
        )
    if version < 2:
        values["store_pressure_policy"] = StorePressurePolicy.OOM
        values["view_overflow_policy"] = ViewOverflowPolicy.DROP_TAIL_VIEW_ITEM
    if version < limits.STREAM_INFO_VERSION:
        values["allow_stream_creation"] = True
