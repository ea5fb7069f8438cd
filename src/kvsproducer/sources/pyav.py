"""The interface to FFmpeg: the only module that imports PyAV.

This module demuxes containers (`ContainerReader`), encodes the synthetic source (`PatternReader`,
`write_clip`), decodes files for checks (`decode_file`) and writes PNG pictures (`write_png`). If
PyAV is not installed, the first use raises an error that says what to install.

Invariants: this module returns plain data of `media.py`. FFmpeg's errors become a `KvsError` with
the original as cause. This module does not repair timestamps; `timestamps.py` does. Raw H.264 and
H.265 have no timestamps: `raw_order.py` derives them, with a decoder of this module. The two fields
of a picture are joined (`fields.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from kvsproducer import limits
from kvsproducer.codecs import h264
from kvsproducer.codecs.nal import Buffer, VideoCodec, cpd_units, nal_type, parameter_sets
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.edits import Edits
from kvsproducer.sources.fields import FieldReader, join_fields
from kvsproducer.sources.fitting import MATROSKA, codec_name, fits
from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack, Packets
from kvsproducer.sources.raw_order import complete_times, count_times, derive_times
from kvsproducer.sources.spec import PatternSpec
from kvsproducer.sources.tracks import with_parameter_sets
from kvsproducer.sources.unread import UnreadBytes
from kvsproducer.status import InvalidMedia, KvsError, StatusCode, kvs_error
from kvsproducer.status.system import in_words

try:
    import av
    import av.error
    import av.filter
    import av.stream
    import av.video.frame
except ImportError as error:  # the extra is not installed, or has no build for this machine
    _MISSING: ImportError | None = error
else:
    _MISSING = None

if TYPE_CHECKING:
    from av.codec.context import CodecContext

    Encoded = av.Packet[av.stream.Stream]

__all__ = ["ContainerReader", "Decoded", "PatternReader", "decode_file", "write_clip", "write_png"]

_RAW: Final = {"h264", "hevc"}  # demuxers of plain Annex-B files
_NOT_MEDIA: Final = {"tty", "image2", "srt", "webvtt", "ass", "subviewer", "ffmetadata", "concat"}
_EDITED: Final = "mp4"  # part of the name of the demuxer of MP4 and MOV, which have edit lists
_STILL_BRANDS: Final = {"avif", "heic", "heix", "mif1"}  # HEIF pictures; sequences have a duration
_RAW_RATE: Final = Fraction(25)  # FFmpeg's default
_LOWEST_HINT: Final = Fraction(1, 100)  # our limits: other frame rates in raw video are ignored,
_HIGHEST_HINT: Final = 480  # since encoders also write the units of their clock (1000, 90000)
_ENCODERS: Final = {"h264": ("libx264", "libopenh264"), "hevc": ("libx265",)}
# Codecs whose packets FFmpeg returns as they are in a Matroska or FLV file.
_UNCHANGED: Final = {"h264", "hevc", "aac", "pcm_alaw", "pcm_mulaw", "opus", "vorbis", "flac"}
_TIMES_RESTART: Final = 0x200  # AVFMT_TS_DISCONT: the times of this demuxer may jump
_MAX_FAILURES: Final = 100  # our limit: consecutive reads that fail on damaged data
_GLOBAL_HEADER: Final = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets in extradata
_AUDIO_RATE: Final = {"aac": 48_000, "pcm_alaw": 8_000, "pcm_mulaw": 8_000}
_AUDIO_FRAME: Final = {"aac": 1024, "pcm_alaw": 320, "pcm_mulaw": 320}  # samples


def _require() -> None:
    if _MISSING is not None:
        raise kvs_error(
            StatusCode.NOT_FOUND,
            "reading media needs PyAV (FFmpeg for Python): pip install 'kvsproducer[media]'",
        ) from _MISSING


class _Ratio(Protocol):
    """The type of a time base: a Fraction, or a type of PyAV 19 and later."""

    @property
    def numerator(self) -> int: ...
    @property
    def denominator(self) -> int: ...


def _ticks(value: int | None, base: _Ratio) -> int | None:
    return None if value is None else value * base.numerator * TICKS_PER_SECOND // base.denominator


def _plain(kind: Kind, packet: Encoded, number: int, scale: tuple[int, int]) -> MediaPacket:
    """Return `packet` as plain data.

    One unit of the packet's time base is `scale[0] / scale[1]` ticks.
    """
    by, over = scale
    pts, dts, duration = packet.pts, packet.dts, packet.duration
    return MediaPacket(
        kind,
        bytes(packet),
        None if pts is None else pts * by // over,
        None if dts is None else dts * by // over,
        duration * by // over if duration else 0,
        packet.is_keyframe,
        number,
        packet.is_corrupt,
        hidden=packet.is_discard,
    )


def _scale(packet: Encoded) -> tuple[int, int]:
    base = packet.time_base or Fraction(1, TICKS_PER_SECOND)
    return base.numerator * TICKS_PER_SECOND, base.denominator


class _TrackReading:
    """What must be remembered while reading one track of a container."""

    def __init__(self, kind: Kind, encrypted: bool, may_have_keys: bool) -> None:
        self.broken = False
        """Whether a packet may have been lost since the last one."""
        self._kind = kind
        self._encrypted = encrypted
        self._may_have_keys = may_have_keys
        self._number = 0
        self._scale: tuple[int, int] | None = None

    def plain(self, packet: Encoded) -> MediaPacket:
        """Return the next packet as plain data."""
        if self._scale is None:  # a Fraction for each packet would take most of the time
            self._scale = _scale(packet)
        plain = _plain(self._kind, packet, self._number, self._scale)
        self._number += 1
        if self._encrypted:
            plain.encrypted = True
        elif self._may_have_keys and plain.key_frame:
            plain.encrypted = packet.has_sidedata("encryption_info")
        if self.broken:
            self.broken = False
            plain.corrupt |= not plain.key_frame
        return plain


# --- reading a container ------------------------------------------------------------------------
class ContainerReader:
    """Demux a container: its first video track and its first audio track that KVS can take.

    `file`: a path or an object with `read`. `raw_rate`: the frame rate of raw video (None: that of
    its parameter sets, else 25). `any_codec`: also choose tracks that KVS stores but does not play.
    `arrived`: a function that takes the offset of a byte and returns the time at which this byte
    arrived through the pipe.

    Raises FORMAT_ERROR if FFmpeg finds no media in the file.
    """

    def __init__(
        self,
        file: str | BinaryIO,
        name: str,
        *,
        demuxer: str | None = None,
        raw_rate: Fraction | None = None,
        any_codec: bool = False,
        arrived: Callable[[int | None], int] | None = None,
    ) -> None:
        _require()
        self._arrived = arrived
        self._name = name
        self._any_codec = any_codec
        try:
            self._container = av.open(file, "r", format=demuxer)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{name} is not media that FFmpeg can read ({in_words(error)})",
            ) from error
        self.format_name = self._container.format.name
        self.gaps = not self._container.format.flags & _TIMES_RESTART
        self._unread = self._find_unread(file)
        if self.format_name in _NOT_MEDIA:
            self.close()
            raise kvs_error(StatusCode.FORMAT_ERROR, f"{name} contains text or pictures, not video")
        brand = self._container.metadata.get("major_brand", "")
        if brand in _STILL_BRANDS and self._container.duration is None:
            self.close()
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{name} is a still picture ({brand.upper()}), not video. Make a clip of it:"
                " ffmpeg -loop 1 -i IN -t 10 -c:v libx264 -pix_fmt yuv420p OUT.mp4",
            )
        self._raw_rate = raw_rate
        self.taken: list[str] = []
        self.ignored: list[str] = []
        self.warnings: list[str] = []
        self.repairs = self.breaks = 0
        self.unread: list[str] = []
        self.tracks: list[MediaTrack] = []
        self._indexes: dict[int, Kind] = {}
        self._encrypted: set[Kind] = set()
        self._record: bytes | None = None  # the latest description of the video track, from an MP4
        self._edits = Edits()
        self.left_out = self._edits.left_out
        self._choose_tracks()
        length = self._container.duration  # in AV_TIME_BASE, microseconds
        self.duration = None if length is None else length * 10
        last = (s.index_entries[-1] for s in self._container.streams if len(s.index_entries))
        self.reach = max((entry.pos + entry.size for entry in last), default=0)

    def _find_unread(self, file: str | BinaryIO) -> UnreadBytes | None:
        """Return an `UnreadBytes`, or None if packet positions cannot show skipped bytes.

        They can in Matroska and FLV files, if FFmpeg does not change the packets of any codec in
        the file.
        """
        flv = self.format_name == "flv"
        if not isinstance(file, str) or not (flv or "matroska" in self.format_name):
            return None
        codecs = {_codec(s) for s in self._container.streams if s.type in ("video", "audio")}
        return UnreadBytes(file, flv=flv) if codecs <= _UNCHANGED else None

    @property
    def raw(self) -> bool:
        """Whether this is a plain Annex-B stream without timestamps."""
        return self.format_name in _RAW

    def _choose_tracks(self) -> None:
        """Choose one video and one audio track: the first that KVS can take, else the first."""
        found: dict[Kind, list[tuple[av.stream.Stream, MediaTrack]]] = {kind: [] for kind in Kind}
        for stream in self._container.streams:
            kind = {"video": Kind.VIDEO, "audio": Kind.AUDIO}.get(stream.type)
            picture = bool(stream.disposition & av.stream.Disposition.attached_pic)
            if kind is None or picture:
                self.ignored.append(_stream_name(stream, "picture" if picture else stream.type))
            else:
                found[kind].append((stream, self._describe(kind, stream)))
        for kind, tracks in found.items():
            if not tracks:
                continue
            fitting = [t for t in tracks if fits(kind, t[1].codec)]
            if self._any_codec:
                fitting += [t for t in tracks if t[1].codec in MATROSKA]
            chosen, track = (fitting or tracks)[0]
            self._indexes[chosen.index] = kind
            if "enc_key_id" in chosen.metadata:  # FFmpeg's sign of encryption in Matroska and WebM
                self._encrypted.add(kind)
            self.tracks.append(track)
            if len(tracks) > 1:
                self.taken.append(_stream_name(chosen, kind.value))
            self.ignored += [_stream_name(s, kind.value) for s, _ in tracks if s is not chosen]

    def _describe(self, kind: Kind, stream: av.stream.Stream) -> MediaTrack:
        context: CodecContext | None = stream.codec_context
        if context is None:  # FFmpeg has no decoder for it
            return MediaTrack(kind, "unknown")
        data, length = bytes(context.extradata or b""), _length(stream)
        pauses = _has_pause(stream)
        track = MediaTrack(kind, _codec(stream), data, length=length, pauses=pauses)
        if isinstance(context, av.VideoCodecContext):
            rate = self._rate(context) if self.raw else stream.average_rate
            return replace(
                track,
                width=context.width,
                height=context.height,
                rate=float(rate or 0),
                reordered=bool(context.has_b_frames) or _may_reorder(track),
            )
        assert isinstance(context, av.AudioCodecContext)
        return replace(track, sample_rate=context.sample_rate, channels=context.channels)

    def _rate(self, context: av.VideoCodecContext) -> Fraction:
        """Return the frame rate of raw video: from the caller, else the parameter sets, else 25."""
        if self._raw_rate is not None:
            return self._raw_rate
        own = context.framerate  # None: the parameter sets have no timing
        if own and _LOWEST_HINT <= own <= _HIGHEST_HINT:
            return Fraction(own)
        problem = f"gives {float(own):g} frames per second" if own else "has no frame rate"
        self.warnings.append(
            f"{self._name} {problem}, so {_RAW_RATE} frames per second are assumed;"
            " give the frame rate with --frame-rate (frame_rate=)"
        )
        return _RAW_RATE

    def packets(self) -> Packets:
        """Yield the packets.

        If reading fails, raises READ_FILE_FAILED after the last packet that could be read.
        """
        packets: Iterator[MediaPacket] = self._demux()
        if _EDITED in self.format_name:
            packets = self._edits.apply(packets)
        video = next((t for t in self.tracks if t.codec == "h264"), None)
        fields = FieldReader(video.extradata) if video else None
        if fields is not None and fields.interlaced:
            packets = join_fields(packets, fields)
        track = self.tracks[0]
        if not self.raw:
            if track.reordered:
                usual = int(TICKS_PER_SECOND / (track.rate or _RAW_RATE))
                packets = complete_times(
                    packets, lambda: _make_decoder(track.codec), self._count_repair, usual
                )
            yield from packets
            return
        frame = TICKS_PER_SECOND / Fraction(track.rate).limit_denominator(100_000)
        if track.reordered:
            yield from derive_times(packets, _make_decoder(track.codec), frame)
        else:
            yield from count_times(packets, frame)

    def _count_repair(self) -> None:
        self.repairs += 1

    def _demux(self) -> Iterator[MediaPacket]:
        """Yield packets. Continue after data that FFmpeg cannot read, if more can be read."""
        may_have_keys = "mp4" in self.format_name
        readings = {
            index: _TrackReading(kind, kind in self._encrypted, may_have_keys)
            for index, kind in self._indexes.items()
        }
        failures = 0  # consecutive failures
        while True:
            try:
                for packet in (
                    self._container.demux() if self._unread is None else self._demux_watched()
                ):
                    failures = 0
                    reading = readings.get(packet.stream_index)
                    if reading is None or packet.size == 0:
                        continue
                    plain = reading.plain(packet)
                    if self._arrived is not None:
                        plain.arrived = self._arrived(packet.pos)
                    if plain.kind is Kind.VIDEO and plain.key_frame:
                        self._apply_side_data(packet, plain)
                    yield plain
            except (av.error.FFmpegError, OSError, IndexError) as error:
                # PyAV raises IndexError for a packet of a stream that did not exist at the start.
                failures += 1
                again = isinstance(error, av.error.InvalidDataError | IndexError)
                if not again or failures > _MAX_FAILURES:
                    raise kvs_error(
                        StatusCode.READ_FILE_FAILED,
                        f"reading {self._name} failed ({in_words(error)})",
                    ) from error
            else:
                return
            self.breaks += 1
            for reading in readings.values():
                reading.broken = True

    def _demux_watched(self) -> Iterator[Encoded]:
        """Yield FFmpeg's packets, and find the bytes that FFmpeg skipped."""
        unread = self._unread
        assert unread is not None
        for packet in self._container.demux():
            if packet.size:
                unread.packet(packet.pos, packet.size)
            yield packet
        if not self.breaks:  # otherwise these places are counted in `breaks`
            unread.end()
            self.unread += unread.places

    def _apply_side_data(self, packet: Encoded, plain: MediaPacket) -> None:
        """Use the data that FFmpeg returns with a key frame of an MP4 or Matroska file."""
        track = self.tracks[0]
        if track.codec not in _ENCODERS or self.raw:
            return
        if packet.has_sidedata("new_extradata") and track.extradata[:1] == b"\x01":
            record = bytes(packet.get_sidedata("new_extradata"))
            if record != self._record:
                data = with_parameter_sets(plain.data, record, track.extradata, track.codec)
                plain.corrupt |= data is None
                plain.data, self._record = data or plain.data, record
        if not plain.number and not plain.encrypted:
            stream = packet.stream
            assert isinstance(stream, av.VideoStream)
            self.warnings += _presentation_warnings(stream, plain.data, self._name)

    def close(self) -> None:
        """Close the container."""
        self._container.close()


def _presentation_warnings(stream: av.VideoStream, data: bytes, name: str) -> list[str]:
    """Return warnings about rotation and pixel aspect ratio that only the container contains.

    KVS stores the video without the container's values. `data` is the stream's first key frame. It
    is decoded once with the container's values and once without them, and the results are compared.
    """
    asked, own = stream.codec_context, av.CodecContext.create(stream.codec_context.name, "r")
    assert isinstance(own, av.VideoCodecContext)
    own.extradata = asked.extradata
    rotation, _ = _shape(asked, data)
    own_rotation, own_aspect = _shape(own, data)
    aspect = stream.sample_aspect_ratio or own_aspect
    warnings = []
    if rotation != own_rotation:
        warnings.append(
            f"{name} has a rotation of {rotation} degrees in its container; KVS does not store"
            " this, so they are shown unrotated. To rotate the pictures themselves:"
            " ffmpeg -i IN -c:a copy OUT.mp4"
        )
    if aspect != own_aspect:
        codec = stream.codec_context.codec.canonical_name
        ratio = f"{aspect.numerator}/{aspect.denominator}"
        warnings.append(
            f"{name} has pixels with an aspect ratio of {ratio} in its container; KVS does not"
            " store this, so pictures are shown distorted. To write it into the video:"
            f" ffmpeg -i IN -c copy -bsf:v {codec}_metadata=sample_aspect_ratio={ratio} OUT.mp4"
        )
    return warnings


def _shape(decoder: av.VideoCodecContext, data: bytes) -> tuple[int, Fraction]:
    """Return a picture's rotation in degrees and pixel aspect ratio; 0 and 1 if unknown."""
    decoder.thread_count = 1
    try:
        pictures = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except av.error.FFmpegError:
        pictures = []
    rotation = pictures[0].rotation if pictures else 0
    return rotation, Fraction(decoder.sample_aspect_ratio or 1)


def _codec(stream: av.stream.Stream) -> str:
    """Return FFmpeg's name of a stream's codec, not of its decoder (libdav1d, mp3float)."""
    context: CodecContext | None = stream.codec_context
    if context is None:  # FFmpeg has no decoder for it
        return "unknown"
    return context.codec.canonical_name


def _length(stream: av.stream.Stream) -> int | None:
    """Return the length of a track in ticks, or None if the file does not have it."""
    if stream.duration is not None and stream.time_base is not None:
        return int(stream.duration * stream.time_base * TICKS_PER_SECOND)
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")  # 00:01:02.345000000
    minutes, _, seconds = rest.partition(":")
    try:
        whole = int(hours) * 3600 + int(minutes) * 60
        return int((whole + float(seconds)) * TICKS_PER_SECOND)
    except (ValueError, OverflowError):
        return None


def _has_pause(stream: av.stream.Stream) -> bool:
    """Return whether two entries of an MP4's index are further apart than a fragment may last."""
    entries, base = stream.index_entries, stream.time_base
    last = len(entries) - 1
    if last < 1 or base is None:
        return False
    longest = limits.SERVICE_MAX_FRAGMENT_DURATION / TICKS_PER_SECOND / base
    at, stride = 0, 1
    while at < last:  # in steps of up to `longest`, so that few entries are read
        to = min(at + stride, last)
        if entries[to].timestamp - entries[at].timestamp <= longest:
            at, stride = to, 2 * stride
        elif to == at + 1:
            return True
        else:
            stride = max(1, (to - at) // 2)
    return False


def _stream_name(stream: av.stream.Stream, kind: str) -> str:
    """Return the name of a stream for messages: `stream 2 (audio AC-3)`."""
    codec = _codec(stream)
    known = f" {codec_name(codec)}" if codec != "unknown" or stream.type != "data" else ""
    return f"stream {stream.index} ({kind}{known})"


def _may_reorder(track: MediaTrack) -> bool:
    """Return whether H.264 parameter sets allow B-frames, which may come later in the stream."""
    if track.codec != "h264":
        return False  # FFmpeg has read it from the SPS of H.265, which always has it
    try:
        if track.extradata[:1] == b"\x01":
            units: Sequence[Buffer] = h264.parse_avcc(track.extradata).sps
        else:
            units = parameter_sets(cpd_units(track.extradata), VideoCodec.H264)
        return any(h264.may_reorder(bytes(u)) for u in units if nal_type(u, VideoCodec.H264) == 7)
    except KvsError:
        return False


def _make_decoder(codec: str) -> Callable[[MediaPacket | None], list[int] | None]:
    """Return a decoder for `raw_order`, which finds the display order of pictures.

    The decoder takes a packet (None: the end of the stream). It returns the `MediaPacket.number` of
    each picture that is shown next. For a packet that cannot be decoded it returns None.
    """
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    # Without this option, FFmpeg guesses the reordering depth if the parameter sets lack it, and
    # drops pictures that come later than its guess.
    decoder.options = {"strict": "1"}

    def show(packet: MediaPacket | None) -> list[int] | None:
        unit = None
        if packet is not None:
            unit = av.Packet(packet.data)
            unit.pts = unit.dts = packet.number
            unit.time_base = Fraction(1, 25)  # arbitrary: the pts is only the number
        try:
            pictures = decoder.decode(unit)
        except av.error.FFmpegError:
            return None
        return [picture.pts for picture in pictures if picture.pts is not None]

    return show


# --- the synthetic source -----------------------------------------------------------------------
class PatternReader:
    """FFmpeg's moving test picture and a tone, encoded while they are read; see `PatternSpec`."""

    raw = False
    reach = 0
    repairs = breaks = 0
    gaps = True

    def __init__(self, pattern: PatternSpec) -> None:
        _require()
        self._pattern = pattern
        encoder = av.CodecContext.create(_video_encoder(pattern), "w")
        _configure_video(encoder, pattern)
        encoder.open()
        self._video: CodecContext | None = encoder
        self.taken: list[str] = []
        self.ignored: list[str] = []
        self.unread: list[str] = []
        self.left_out = dict.fromkeys(Kind, 0)
        self.warnings: list[str] = []
        self.duration = int(pattern.duration_s * TICKS_PER_SECOND) or None
        video = MediaTrack(Kind.VIDEO, pattern.codec, bytes(encoder.extradata or b""))
        video = replace(video, width=pattern.width, height=pattern.height)
        self.tracks = [replace(video, rate=float(pattern.rate), reordered=pattern.bframes > 0)]
        self._audio: CodecContext | None = None
        if pattern.audio:
            self._audio = av.CodecContext.create(pattern.audio, "w")
            _configure_audio(self._audio, pattern)
            self._audio.open()
            audio = MediaTrack(Kind.AUDIO, pattern.audio, bytes(self._audio.extradata or b""))
            rate = _AUDIO_RATE[pattern.audio]
            self.tracks.append(replace(audio, sample_rate=rate, channels=1))

    def packets(self) -> Packets:
        """Encode picture by picture, and the sound up to each picture's time."""
        assert self._video is not None, "the reader is closed"
        numbers = dict.fromkeys(Kind, 0)
        for kind, packet in _encode(self._pattern, self._video, self._audio):
            yield _plain(kind, packet, numbers[kind], _scale(packet))
            numbers[kind] += 1

    def close(self) -> None:
        """Free the encoders and their threads. Close the generator of `packets` before."""
        self._video = self._audio = None


def write_clip(path: str, pattern: PatternSpec) -> None:
    """Write the synthetic source to a file. The suffix of its name selects the container."""
    _require()
    with av.open(path, "w") as output:
        video = output.add_stream(_video_encoder(pattern), rate=pattern.rate)
        _configure_video(video.codec_context, pattern)
        streams: dict[Kind, av.stream.Stream] = {Kind.VIDEO: video}
        if pattern.audio:
            audio = output.add_stream(pattern.audio, rate=_AUDIO_RATE[pattern.audio])
            _configure_audio(audio.codec_context, pattern)
            streams[Kind.AUDIO] = audio
        sound = streams[Kind.AUDIO].codec_context if pattern.audio else None
        for kind, packet in _encode(pattern, video.codec_context, sound):
            packet.stream = streams[kind]
            output.mux(packet)


def _video_encoder(pattern: PatternSpec) -> str:
    """Return the name of an encoder that this FFmpeg build has. Raises NOT_IMPLEMENTED."""
    wanted = _ENCODERS[pattern.codec]
    for name in wanted:
        if name in av.codecs_available:
            return name
    raise kvs_error(
        StatusCode.NOT_IMPLEMENTED,
        f"this FFmpeg build has no encoder for {pattern.codec} (wanted {' or '.join(wanted)})",
    )


def _configure_video(context: CodecContext, pattern: PatternSpec) -> None:
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = pattern.width, pattern.height, "yuv420p"
    context.framerate, context.time_base = pattern.rate, 1 / pattern.rate
    context.gop_size, context.max_b_frames = pattern.gop_frames, pattern.bframes
    context.flags |= _GLOBAL_HEADER
    gop = str(pattern.gop_frames)
    options = {"preset": "ultrafast"}
    if pattern.codec == "hevc":
        # Open groups, x265's default, show pictures before their key frame: no fragment may start
        # there.
        options["x265-params"] = (
            f"log-level=none:keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"
            f":bframes={pattern.bframes}:b-adapt=0"
        )
    else:
        options |= {"bf": str(pattern.bframes), "keyint_min": gop, "sc_threshold": "0"}
    if pattern.bframes == 0:
        options["tune"] = "zerolatency"
    context.options = options


def _configure_audio(context: CodecContext, pattern: PatternSpec) -> None:
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate = _AUDIO_RATE[pattern.audio]
    context.format = _sample_format(pattern)
    context.layout = "mono"
    context.time_base = Fraction(1, context.sample_rate)
    context.flags |= _GLOBAL_HEADER


def _sample_format(pattern: PatternSpec) -> str:
    return "fltp" if pattern.audio == "aac" else "s16"


def _encode(
    pattern: PatternSpec, video: CodecContext, audio: CodecContext | None
) -> Iterator[tuple[Kind, Encoded]]:
    """Encode both tracks, sound a little before each picture, then flush the encoders."""
    assert isinstance(video, av.VideoCodecContext)
    tones = deque[av.AudioFrame]()
    sound = _tone(pattern) if audio is not None else iter(())

    def sounds(until_s: Fraction | None) -> Iterator[tuple[Kind, Encoded]]:
        assert isinstance(audio, av.AudioCodecContext)
        while tone := (tones.popleft() if tones else next(sound, None)):
            if until_s is not None and Fraction(tone.pts or 0, tone.sample_rate) > until_s:
                tones.append(tone)
                return
            yield from ((Kind.AUDIO, packet) for packet in audio.encode(tone))

    for picture in _pictures(pattern):
        yield from ((Kind.VIDEO, packet) for packet in video.encode(picture))
        if audio is not None:
            yield from sounds((picture.pts or 0) / pattern.rate)
    yield from ((Kind.VIDEO, packet) for packet in video.encode(None))
    if isinstance(audio, av.AudioCodecContext):
        yield from sounds(None)
        yield from ((Kind.AUDIO, packet) for packet in audio.encode(None))


def _pictures(pattern: PatternSpec) -> Iterator[av.VideoFrame]:
    size = f"size={pattern.width}x{pattern.height}"
    frames = _graph(
        ("testsrc2", f"{size}:rate={pattern.rate}{_until(pattern)}"),
        ("format", "pix_fmts=yuv420p"),
        ("buffersink", ""),
    )
    for number, frame in enumerate(frames):
        assert isinstance(frame, av.VideoFrame)
        frame.pts, frame.time_base = number, 1 / pattern.rate
        frame.pict_type = av.video.frame.PictureType.NONE
        yield frame


def _tone(pattern: PatternSpec) -> Iterator[av.AudioFrame]:
    rate, samples = _AUDIO_RATE[pattern.audio], _AUDIO_FRAME[pattern.audio]
    options = f"frequency=440:sample_rate={rate}:samples_per_frame={samples}"
    frames = _graph(
        ("sine", options + _until(pattern)),
        ("aformat", f"sample_fmts={_sample_format(pattern)}:channel_layouts=mono"),
        ("abuffersink", ""),
    )
    for frame in frames:
        assert isinstance(frame, av.AudioFrame)
        yield frame


def _until(pattern: PatternSpec) -> str:
    return f":duration={float(pattern.duration_s):.6f}" if pattern.duration_s else ""


def _graph(*filters: tuple[str, str]) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Yield the output of a chain of FFmpeg filters, whose first filter is a source.

    The graph has no threads. Since PyAV 19 it is part of a reference cycle, so it may live until a
    garbage collection. If that happened in a forked child, it would wait for threads that do not
    exist there.
    """
    graph = av.filter.Graph()
    graph.threads = 1
    nodes = [graph.add(name, options or None) for name, options in filters]
    for first, second in pairwise(nodes):
        first.link_to(second)
    graph.configure()
    while True:
        try:
            frame = graph.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            return
        assert isinstance(frame, av.VideoFrame | av.AudioFrame)
        yield frame


# --- decoding and pictures, for checks ----------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Decoded:
    """The decoded content of a file.

    `pts`: time of every picture in ticks. `sounds`: number of audio frames. `thumbnails`: RGB bytes
    (3 per pixel, by rows) of the requested pictures.
    """

    pts: list[int]
    sounds: int
    thumbnails: list[bytes]


def decode_file(path: str, *, thumbnails: int, width: int, height: int) -> Decoded:
    """Decode every frame of `path`. Raises MKV_INVALID_FRAME_DATA at the first invalid frame.

    The result has `thumbnails` pictures, evenly distributed and scaled to `width` x `height`.
    """
    _require()
    result = Decoded([], 0, [])
    sounds = 0
    spread: list[bytes] = []  # every nth picture; n doubles when there are twice too many
    step = 1
    try:
        with av.open(path) as container:
            for stream in container.streams:
                if stream.type in ("video", "audio"):
                    stream.codec_context.thread_type = "AUTO"
            frames: Iterator[object] = container.decode()
            for frame in frames:
                if not isinstance(frame, av.VideoFrame):
                    sounds += isinstance(frame, av.AudioFrame)
                    continue
                if len(result.pts) % step == 0 and thumbnails:
                    spread.append(_rgb(frame, width, height))
                    if len(spread) == 2 * thumbnails:
                        del spread[1::2]
                        step *= 2
                assert frame.time_base is not None
                result.pts.append(_ticks(frame.pts, frame.time_base) or 0)
    except (av.error.FFmpegError, OSError) as error:
        raise InvalidMedia(
            StatusCode.MKV_INVALID_FRAME_DATA,
            f"{path}: picture {len(result.pts)} cannot be decoded ({in_words(error)})",
        ) from error
    return replace(result, sounds=sounds, thumbnails=_evenly(spread, thumbnails))


def _evenly(items: list[bytes], count: int) -> list[bytes]:
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _rgb(frame: av.VideoFrame, width: int, height: int) -> bytes:
    plane = frame.reformat(width=width, height=height, format="rgb24").planes[0]
    data, stride, row = bytes(plane), plane.line_size, 3 * width
    return b"".join(data[y * stride : y * stride + row] for y in range(height))


def write_png(path: str, rgb: bytes, width: int, height: int) -> None:
    """Write `rgb` (3 bytes per pixel, by rows) as a PNG picture."""
    _require()
    frame = av.VideoFrame(width, height, "rgb24")
    plane, row = frame.planes[0], 3 * width
    padding = bytes(plane.line_size - row)
    plane.update(b"".join(rgb[y * row : (y + 1) * row] + padding for y in range(height)))
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    encoder.time_base = Fraction(1, 1)
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    with open(path, "wb") as file:
        file.write(b"".join(bytes(packet) for packet in packets))
