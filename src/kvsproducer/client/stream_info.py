"""The description of a stream: name, tracks, buffers, policies.

Source: AWS's StreamInfo (version 3) with its StreamCaps, and the C producer's stream info creators
(`video`, `audio`, `audio_video`). A `StreamInfo` is plain data. `from_dict` reads AWS's layout, in
which durations are ticks. `validate` raises the status of a violated limit. `resolved` replaces 0
by the default. Durations are kept as `timedelta`; the core converts them to ticks when a stream
opens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import IntEnum
from typing import Final, Literal, TypedDict, Unpack

from kvsproducer import limits
from kvsproducer.client.device_info import (
    enum_member,
    read_versioned,
    refuse_unknown,
    tags_from,
    validate_tags,
)
from kvsproducer.client.presets import audio_track, complete_sound, video_track
from kvsproducer.duration import (
    TICKS_PER_SECOND,
    Duration,
    DurationField,
    as_timedelta,
    default_duration,
    durations_from_ticks,
    set_durations,
    to_timedelta,
)
from kvsproducer.members import check_members
from kvsproducer.mkv.tracks import NalAdaptation, TrackInfo, TrackType
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.utils import base64_decode, hex_decode

__all__ = [
    "FrameOrderMode",
    "NalAdaptation",
    "StorePressurePolicy",
    "StreamInfo",
    "StreamOptions",
    "StreamingType",
    "ViewOverflowPolicy",
]

_S = StatusCode


class StreamingType(IntEnum):
    """REALTIME and NEAR_REALTIME drop the oldest frames when full; OFFLINE waits and drops none."""

    REALTIME = 0
    NEAR_REALTIME = 1
    OFFLINE = 2


class FrameOrderMode(IntEnum):
    """How frames of several tracks are put in order.

    PASS_THROUGH keeps the order of the puts. The other modes hold a frame until every track has
    one. Then the frame with the smallest dts or pts is stored first. COMPENSATE adds a timecode
    unit if times are equal. EOFR allows end-of-fragment frames.
    """

    PASS_THROUGH = 0
    MULTI_TRACK_NO_COMPARISON = 1
    DTS_ONE_MS_COMPENSATE = 2
    PTS_ONE_MS_COMPENSATE = 3
    DTS_ONE_MS_COMPENSATE_EOFR = 4
    PTS_ONE_MS_COMPENSATE_EOFR = 5


class StorePressurePolicy(IntEnum):
    """What happens when the store is full: refuse the new frame (OOM) or drop the oldest frames."""

    OOM = 0
    DROP_TAIL_ITEM = 1


class ViewOverflowPolicy(IntEnum):
    """How much is dropped at once: one frame, or all frames up to the next fragment's start."""

    DROP_TAIL_VIEW_ITEM = 0
    DROP_UNTIL_FRAGMENT_START = 1


_DURATIONS: Final = (
    "retention",
    "max_latency",
    "fragment_duration",
    "buffer_duration",
    "replay_duration",
    "connection_staleness_duration",
)
# A number of seconds may be as large as the longest retention that the service accepts.
_LARGEST: Final = {"retention": timedelta(hours=limits.SERVICE_MAX_RETENTION_HOURS)}
_IGNORED: Final = frozenset({"adaptive", "avg_bandwidth_bps", "recalculate_metrics"})


class StreamOptions(TypedDict, total=False):
    """The options of a stream, as the creators of `StreamInfo` accept them; see `StreamInfo`."""

    name: str
    content_type: str
    tracks: tuple[TrackInfo, ...]
    retention: Duration
    tags: Mapping[str, str] | tuple[tuple[str, str], ...]
    kms_key_id: str
    streaming_type: StreamingType
    max_latency: Duration
    fragment_duration: Duration
    key_frame_fragmentation: bool
    frame_timecodes: bool
    absolute_fragment_times: bool
    fragment_acks: bool
    recover_on_error: bool
    nal_adaptation: NalAdaptation
    frame_rate: int
    buffer_duration: Duration
    replay_duration: Duration
    connection_staleness_duration: Duration
    timecode_scale: int
    segment_uuid: bytes | None
    frame_order_mode: FrameOrderMode
    store_pressure_policy: StorePressurePolicy
    view_overflow_policy: ViewOverflowPolicy
    allow_stream_creation: bool


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The description of a stream; `video`, `audio` and `audio_video` create one.

    Lengths of time are given as seconds (int or float), a `timedelta` or ISO 8601 text (`"PT2M"`),
    and are read as a `timedelta`.

    Attributes:
        name: Name of the stream, up to 256 characters; default: the one given to `open_stream`.
        content_type: Media types of the tracks, for example `"video/h264,audio/aac"`.
        tracks: One to three `TrackInfo`.
        retention: How long the service keeps the media, if the stream has to be created: 1 hour
            to 10 years, or 0 to store nothing. KVS counts whole hours; other values are rounded
            up. Default: 24 hours.
        tags: Up to 50 tags for a stream that has to be created; a mapping, or (name, value) pairs.
        kms_key_id: Key that encrypts a stream that has to be created; default: KVS's own key.
        streaming_type: What happens when the buffer is full, see `StreamingType`. Default:
            REALTIME.
        max_latency: StreamLatencyPressure is reported when more media than this is unsent; 0:
            never. Default: 0. Default of the creators: 85 % of `buffer_duration`.
        fragment_duration: Length of fragments without `key_frame_fragmentation`, 1 to 30 s. The
            first key frame after this time begins the next fragment. Default: 2 s.
        key_frame_fragmentation: Whether each key frame begins a fragment. Default: True.
        frame_timecodes: Whether frames keep their own times. False: each frame gets the time of its
            put. Default: True.
        absolute_fragment_times: Whether times count from 1970. False: they count from the start of
            the upload, and the service adds its own time. Default: True.
        fragment_acks: Whether the service acknowledges fragments. Default: True.
        recover_on_error: Whether the stream is set up again after an error. Default: True.
        nal_adaptation: How H.264 and H.265 frames are converted, `NalAdaptation` flags. Default:
            NONE. Default of the creators: from Annex-B (start codes), or NONE with an avcC or hvcC
            record.
        frame_rate: Largest number of frames per second, over all tracks; an int. The size of the
            buffer's index depends on it. Unless it is the default (120), it also determines the
            duration of video frames that have none.
        buffer_duration: How much media is held at most; 0 means 20 s. Default: 120 s.
        replay_duration: How much held media is sent again after a lost connection. Default: 60 s.
            Default of the creators: half of `buffer_duration`.
        connection_staleness_duration: ConnectionStale is reported when the service has not
            acknowledged this much sent media; 0: never. Default: 0. Default of the creators: 5 s.
        timecode_scale: Unit of the stored times, in ticks of 100 ns. Default: 10,000 (1 ms).
        segment_uuid: 16 bytes that identify the Matroska segment. Default: random.
        frame_order_mode: How frames of several tracks are put in order. Default: PASS_THROUGH;
            with `audio_video`: by pts.
        store_pressure_policy: What happens when the storage is full. Default: DROP_TAIL_ITEM.
        view_overflow_policy: How much is dropped at once. Default: DROP_UNTIL_FRAGMENT_START.
        allow_stream_creation: Whether a stream that does not exist is created. Default: True.

    Raises INVALID_ARG for a value of a wrong type, or a length of time that is negative or too
    large, and INVALID_DURATION_VALUE for text that is not ISO 8601.
    """

    name: str = ""
    content_type: str = "video/h264"
    tracks: tuple[TrackInfo, ...] = ()
    retention: DurationField = default_duration(limits.STREAM_INFO_RETENTION)
    tags: tuple[tuple[str, str], ...] = ()
    kms_key_id: str = ""
    streaming_type: StreamingType = StreamingType.REALTIME
    max_latency: DurationField = default_duration(0)
    fragment_duration: DurationField = default_duration(limits.STREAM_INFO_FRAGMENT_DURATION)
    key_frame_fragmentation: bool = True
    frame_timecodes: bool = True
    absolute_fragment_times: bool = True
    fragment_acks: bool = True
    recover_on_error: bool = True
    nal_adaptation: NalAdaptation = NalAdaptation.NONE
    frame_rate: int = limits.STREAM_INFO_FRAME_RATE
    buffer_duration: DurationField = default_duration(limits.STREAM_INFO_BUFFER_DURATION)
    replay_duration: DurationField = default_duration(limits.STREAM_INFO_BUFFER_DURATION // 2)
    connection_staleness_duration: DurationField = default_duration(0)
    timecode_scale: int = limits.STREAM_INFO_TIMECODE_SCALE
    segment_uuid: bytes | None = None
    frame_order_mode: FrameOrderMode = FrameOrderMode.PASS_THROUGH
    store_pressure_policy: StorePressurePolicy = StorePressurePolicy.DROP_TAIL_ITEM
    view_overflow_policy: ViewOverflowPolicy = ViewOverflowPolicy.DROP_UNTIL_FRAGMENT_START
    allow_stream_creation: bool = True

    def __post_init__(self) -> None:
        set_durations(self, _DURATIONS, largest=_LARGEST)
        for name, kind in _ENUMS.items():
            value = getattr(self, name)
            if type(value) is not kind:
                object.__setattr__(self, name, enum_member(kind, value))
        object.__setattr__(self, "nal_adaptation", _nal_flags(self.nal_adaptation))
        object.__setattr__(self, "tags", tags_from(self.tags))
        check_members(self)
        if not isinstance(self.segment_uuid, bytes | None):
            raise kvs_error(_S.INVALID_ARG, f"segment_uuid is {self.segment_uuid!r}; give 16 bytes")
        object.__setattr__(self, "tracks", _tracks(self.tracks))

    # --- creators -------------------------------------------------------------------------------
    @classmethod
    def video(
        cls,
        codec: Literal["h264", "h265"] = "h264",
        *,
        codec_private_data: bytes = b"",
        **options: Unpack[StreamOptions],
    ) -> StreamInfo:
        """Describe a stream with one video track, with the `options` listed at `StreamInfo`.

        `codec_private_data` is the avcC or hvcC record of the encoder or file (PyAV: extradata).
        With such a record, frames have length prefixes unless `nal_adaptation` says otherwise. If
        frames have start codes, parameter sets with start codes may be given instead. By default
        the record is made of the first key frame's parameter sets.

        Raises INVALID_ARG for another codec or an unknown option, and the errors of `StreamInfo`.
        """
        track, media = _with_data(video_track(codec), codec_private_data)
        _adapt_to_record(codec_private_data, options)
        return cls._create((track,), media, options)

    @classmethod
    def audio(
        cls,
        codec: Literal["aac", "alaw", "mulaw"] = "aac",
        *,
        codec_private_data: bytes = b"",
        **options: Unpack[StreamOptions],
    ) -> StreamInfo:
        """Describe a stream with one audio track, with the `options` listed at `StreamInfo`.

        `codec_private_data` is the AudioSpecificConfig of AAC, or the WAVEFORMATEX of G.711
        (default: 8000 Hz, one channel). AAC frames with ADTS headers need none.

        Raises INVALID_ARG for another codec or an unknown option, and the errors of `StreamInfo`.
        """
        track, media = _with_data(
            audio_track(codec, limits.AUDIO_ONLY_TRACK_ID), codec_private_data
        )
        return cls._create((track,), media, options)

    @classmethod
    def audio_video(
        cls,
        video_codec: Literal["h264", "h265"] = "h264",
        audio_codec: Literal["aac", "alaw", "mulaw"] = "aac",
        *,
        video_private_data: bytes = b"",
        audio_private_data: bytes = b"",
        **options: Unpack[StreamOptions],
    ) -> StreamInfo:
        """Describe a stream with a video track (id 1) and an audio track (id 2).

        `video_private_data` and `audio_private_data` are the `codec_private_data` of `video` and
        `audio`; the `options` are listed at `StreamInfo`. Frames are ordered by pts by default.

        Raises INVALID_ARG for another codec or an unknown option, and the errors of `StreamInfo`.
        """
        video, video_media = _with_data(video_track(video_codec), video_private_data)
        audio, audio_media = _with_data(
            audio_track(audio_codec, limits.AUDIO_TRACK_ID), audio_private_data
        )
        options.setdefault("frame_order_mode", FrameOrderMode.PTS_ONE_MS_COMPENSATE_EOFR)
        _adapt_to_record(video_private_data, options)
        return cls._create((video, audio), f"{video_media},{audio_media}", options)

    @classmethod
    def _create(
        cls, tracks: tuple[TrackInfo, ...], content_type: str, options: StreamOptions
    ) -> StreamInfo:
        refuse_unknown("StreamInfo", options, StreamOptions.__annotations__)
        default = as_timedelta(limits.STREAM_INFO_BUFFER_DURATION)
        buffer = to_timedelta(options.get("buffer_duration", default), "buffer_duration")
        values: StreamOptions = {
            "tracks": tracks,
            "content_type": content_type,
            "replay_duration": buffer * limits.STREAM_INFO_REPLAY_FACTOR,
            "max_latency": buffer * limits.STREAM_INFO_LATENCY_FACTOR,
            "connection_staleness_duration": as_timedelta(limits.STREAM_INFO_STALENESS_DURATION),
            "nal_adaptation": NalAdaptation.ANNEXB_NALS | NalAdaptation.ANNEXB_CPD_NALS,
            **options,
        }
        return cls(**values)  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> StreamInfo:
        """Return the `StreamInfo` that a configuration file in AWS's layout describes.

        Durations are in ticks. Older versions have the meaning that AWS's client gave them. Version
        0 orders one video and one audio track by pts. Versions up to 1 refuse frames when the store
        is full and drop frame by frame. Versions up to 2 allow stream creation. `adaptive`,
        `avg_bandwidth_bps` and `recalculate_metrics` are accepted and ignored: they have no effect
        in any producer.

        Raises INVALID_STREAM_INFO_VERSION, TRACK_INFO_MISSING for `tracks: null`, INVALID_ARG for
        an unknown member or value, INVALID_DURATION_VALUE for a duration with invalid text.
        """
        values = read_versioned(
            cls, data, limits.STREAM_INFO_VERSION, _S.INVALID_STREAM_INFO_VERSION, ignored=_IGNORED
        )
        durations_from_ticks(values, _DURATIONS)
        if "tracks" in values:
            values["tracks"] = _tracks(values["tracks"])  # _apply_version() looks at them
        version = data.get("version", limits.STREAM_INFO_VERSION)
        assert isinstance(version, int), "read_versioned() has checked it"
        _apply_version(values, version)
        return cls(**values)  # type: ignore[arg-type]

    # --- checks ---------------------------------------------------------------------------------
    def validate(self) -> None:
        """Raise the status of the first violated limit, in AWS's order."""
        if len(self.name) > limits.MAX_STREAM_NAME_LEN:
            raise kvs_error(
                _S.INVALID_STREAM_NAME_LENGTH,
                f"the stream's name has {len(self.name)} characters,"
                f" at most {limits.MAX_STREAM_NAME_LEN} are allowed",
            )
        validate_tags(self.tags)
        if len(self.kms_key_id) > limits.MAX_ARN_LEN:
            raise kvs_error(
                _S.INVALID_ARG_LEN,
                f"kms_key_id has {len(self.kms_key_id)} characters; "
                f"at most {limits.MAX_ARN_LEN} are allowed",
            )
        self._validate_retention()
        self._validate_tracks()
        offline = self.streaming_type is StreamingType.OFFLINE
        if offline and not (self.retention and self.fragment_acks):
            raise kvs_error(
                _S.OFFLINE_MODE_WITH_ZERO_RETENTION,
                "offline streaming needs a retention and fragment acks, because only an ack shows"
                " that a frame is stored",
            )

    def _validate_retention(self) -> None:
        seconds = self.retention.total_seconds()
        if 0 < seconds < limits.MIN_RETENTION_PERIOD / TICKS_PER_SECOND:
            hint = ""
            if self.retention.microseconds == 0 and seconds <= 168:
                hint = f"; {seconds:g} hours are retention={seconds * 3600:g}"
            raise kvs_error(
                _S.INVALID_RETENTION_PERIOD,
                f"retention is {seconds:g} seconds; the service takes 1 hour (3600) or more, or 0"
                f" to store nothing{hint}",
            )
        if self.retention > _LARGEST["retention"]:
            raise kvs_error(
                _S.INVALID_RETENTION_PERIOD,
                f"retention is {seconds / 86_400:,.0f} days; the service takes"
                f" {_LARGEST['retention'].days:,} days (10 years) at most",
            )

    def _validate_tracks(self) -> None:
        if not self.tracks:
            raise kvs_error(_S.TRACK_INFO_MISSING, "the stream has no tracks; give 1 to 3")
        if len(self.tracks) > limits.MAX_TRACK_COUNT:
            raise kvs_error(
                _S.MAX_TRACK_COUNT_EXCEEDED,
                f"the stream has {len(self.tracks)} tracks; at most 3 are allowed",
            )
        seen: set[int] = set()
        for track in self.tracks:
            if track.track_id < limits.MIN_TRACK_ID:
                raise kvs_error(
                    _S.MKV_INVALID_TRACK_UID,
                    f"track_id is {track.track_id}; give {limits.MIN_TRACK_ID} or more",
                )
            if track.track_id in seen:
                raise kvs_error(
                    _S.DUPLICATE_TRACK_ID_FOUND,
                    f"two tracks have the track_id {track.track_id}; give each its own",
                )
            seen.add(track.track_id)

    @property
    def frame_duration(self) -> int:
        """Duration of a video frame without a duration of its own, in ticks; 0 if unknown."""
        if self.frame_rate in (0, limits.STREAM_INFO_FRAME_RATE):
            return 0
        return TICKS_PER_SECOND // self.frame_rate

    def with_name(self, name: str) -> StreamInfo:
        """Return a copy with another name."""
        return replace(self, name=name)

    def with_defaults(self) -> StreamInfo:
        """Return a copy with defaults instead of zeros, without options that its type excludes."""
        offline = self.streaming_type is StreamingType.OFFLINE
        buffer = as_timedelta(limits.DEFAULT_BUFFER_DURATION)
        return replace(
            self,
            tracks=tuple(complete_sound(track, self.content_type) for track in self.tracks),
            timecode_scale=self.timecode_scale or limits.DEFAULT_TIMECODE_SCALE,
            frame_rate=self.frame_rate or limits.DEFAULT_FRAME_RATE,
            replay_duration=min(self.replay_duration, self.buffer_duration),
            buffer_duration=self.buffer_duration or buffer,
            max_latency=timedelta(0) if offline else self.max_latency,
            connection_staleness_duration=(
                timedelta(0) if offline else self.connection_staleness_duration
            ),
        )


def _with_data(preset: tuple[TrackInfo, str], data: bytes) -> tuple[TrackInfo, str]:
    """Return a preset track with the caller's codec private data (bytes, else INVALID_ARG)."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise kvs_error(
            _S.INVALID_ARG, f"codec_private_data is of type {type(data).__name__}; give bytes"
        )
    track, media = preset
    return replace(track, codec_private_data=bytes(data)), media


def _adapt_to_record(data: bytes, options: StreamOptions) -> None:
    """Switch conversion off for an avcC or hvcC record: NAL units then have length prefixes.

    An explicit `nal_adaptation` in `options` is not changed.
    """
    if bytes(data[:1]) == b"\1":
        options.setdefault("nal_adaptation", NalAdaptation.NONE)


_ENUMS: dict[str, type[IntEnum]] = {
    "streaming_type": StreamingType,
    "frame_order_mode": FrameOrderMode,
    "store_pressure_policy": StorePressurePolicy,
    "view_overflow_policy": ViewOverflowPolicy,
}


def _nal_flags(value: object) -> NalAdaptation:
    if isinstance(value, int):
        return NalAdaptation(value)
    raise kvs_error(_S.INVALID_ARG, f"nal_adaptation is {value!r}; give NalAdaptation flags")


def _show_options(creator: Callable[..., object]) -> None:
    """Make `help()` and interactive completion show each option of a creator."""
    signature = inspect.signature(creator)
    defaults = {each.name: each.default for each in fields(StreamInfo)}
    options = (
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation
        )
        for name, annotation in StreamOptions.__annotations__.items()
    )
    own = list(signature.parameters.values())[:-1]  # without `**options`
    shown = signature.replace(parameters=[*own, *options])
    creator.__signature__ = shown  # type: ignore[attr-defined]


for _creator in (StreamInfo.video, StreamInfo.audio, StreamInfo.audio_video):
    _show_options(getattr(_creator, "__func__"))  # noqa: B009


def _tracks(value: object) -> tuple[TrackInfo, ...]:
    if value is None:
        raise kvs_error(_S.TRACK_INFO_MISSING, "tracks is None; give a list of tracks")
    if not isinstance(value, list | tuple):
        raise kvs_error(_S.INVALID_ARG, f"tracks is {value!r:.100}; give a list of tracks")
    return tuple(_track(track) for track in value)


def _track(value: object) -> TrackInfo:
    if isinstance(value, TrackInfo):
        return value
    if not isinstance(value, Mapping):
        raise kvs_error(
            _S.INVALID_ARG,
            f"a track is {value!r:.100}; give a TrackInfo or a mapping of its members",
        )
    values = {name: item for name, item in value.items() if name != "version"}
    private_data = values.pop("codec_private_data", b"")
    if isinstance(private_data, str):
        private_data = _codec_private_data(private_data)
    try:
        kind = enum_member(TrackType, values.pop("track_type", TrackType.VIDEO))
        return TrackInfo(track_type=kind, codec_private_data=private_data, **values)
    except KvsError:
        raise
    except (TypeError, ValueError) as error:
        raise kvs_error(_S.INVALID_ARG, f"a track is invalid: {error}") from error


def _codec_private_data(text: str) -> bytes:
    """Return codec private data from hexadecimal text, base64 after `base64:`, or SDP.

    SDP text is `sprop-parameter-sets=...`. Its parameter sets become Annex B units, for
    `NalAdaptation.ANNEXB_CPD_NALS`. Raises the codes of `utils.hex_decode` and
    `utils.base64_decode`.
    """
    kind, mark, rest = text.partition("=")
    if mark and kind.strip() == "sprop-parameter-sets":
        return b"".join(b"\0\0\0\1" + base64_decode(unit) for unit in rest.strip().split(","))
    if text.startswith("base64:"):
        return base64_decode(text.removeprefix("base64:"))
    return hex_decode(text) if text else b""


def _apply_version(values: dict[str, object], version: int) -> None:
    """Set members that did not exist in `version` to what AWS's client of that version did.

    This is here and not in `compat` because `StreamInfo.from_dict` is public, and because AWS's
    test cases give streams in every version.
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
