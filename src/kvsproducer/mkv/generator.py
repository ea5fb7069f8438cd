"""The Matroska generator: which bytes go before a frame's payload, as AWS's producer writes them.

A stream is a header (EBML, Segment of unknown size, Info, Tracks), then fragments: Cluster of
unknown size { Timestamp, Position 0, SimpleBlock ... }; RFC 9559 sections 5.1.3 and 10. No Cues, no
durations, no lacing. Tags (fragment metadata) go between header and Cluster; the caller puts them
there. `pack` returns only what precedes the payload: payload bytes are never seen nor copied.

A cluster's Timestamp is the pts of its first frame, as AWS has it, unless the caller knows that
frames which follow are shown before that one (open groups of pictures): then it is theirs.
Matroska would allow blocks before the Timestamp; the Error Code Reference does not (a frame's times
are "greater or equal to the timestamp of the beginning of the current fragment").

Invariants: a call that raises leaves the generator as it was; times never go before the cluster's
start; a block's relative timecode fits 16 bits; no block follows the tag that ended its fragment.
Not here: the clock (streams without frame
timecodes pass the time of day as pts), NAL conversion (`adaptation`), acks.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from kvsproducer.limits import (
    DEFAULT_TIMECODE_SCALE,
    MAX_EBML_NUMBER,
    MAX_RELATIVE_TIMECODE,
    MAX_TIMESTAMP,
    SEGMENT_UUID_BYTES,
    STREAM_INFO_FRAGMENT_DURATION,
)
from kvsproducer.mkv.codec_private import complete_track
from kvsproducer.mkv.header import segment_info, stream_header
from kvsproducer.mkv.tags import end_of_fragment_tag
from kvsproducer.mkv.tracks import FrameFlags, FrameKind, NalAdaptation, TrackInfo
from kvsproducer.mkv.validation import (
    check_adaptation,
    check_codec_private_data,
    check_segment_uuid,
    check_stream,
    check_track,
    frame_error,
    track_not_found,
)
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.version import APPLICATION

__all__ = ["DEFAULT_SEGMENT_UUID", "MkvGenerator", "Packed"]

DEFAULT_SEGMENT_UUID: Final = b"\x55" * SEGMENT_UUID_BYTES
"""What AWS's packager writes when nobody chose one; the client always chooses a random one."""

# SimpleBlock: id, 8-byte size, track number, signed relative timecode, flags.
_pack_block = struct.Struct(">BQBhB").pack
# Cluster of unknown size and Timestamp with 8 bytes; its value; Position 0, SimpleBlock as above.
_CLUSTER_START: Final = bytes.fromhex("1f43b675ff e788")
_POSITION_ZERO: Final = bytes.fromhex("a78100")
_pack_cluster = struct.Struct(">7sQ3sBQBhB").pack
_BLOCK_ID: Final = 0xA3
_BLOCK_LEAD: Final = 4  # track number, timecode and flags count towards the block's size
_SIZE_BASE: Final = (1 << 56) + _BLOCK_LEAD
_MAX_FRAME_BYTES: Final = MAX_EBML_NUMBER - _BLOCK_LEAD
_OVERHEADS: Final = {
    FrameKind.BLOCK: struct.calcsize(">BQBhB"),
    FrameKind.CLUSTER: struct.calcsize(">7sQ3sBQBhB"),
}

_BLOCK, _CLUSTER, _STREAM = FrameKind.BLOCK, FrameKind.CLUSTER, FrameKind.STREAM


def _block_flags(flags: int) -> int:
    """SimpleBlock flags (RFC 9559 section 10.2) for frame flags."""
    return (
        (0x80 if flags & FrameFlags.KEY else 0)
        | (0x08 if flags & FrameFlags.INVISIBLE else 0)
        | (0x01 if flags & FrameFlags.DISCARDABLE else 0)
    )


# Tables, not bit tests: `&` on a FrameFlags takes longer than all the rest of packing a frame.
_BLOCK_FLAGS: Final = tuple(_block_flags(flags) for flags in range(16))
_IS_KEY: Final = tuple(bool(flags & FrameFlags.KEY) for flags in range(16))
_ALL_FLAGS: Final = len(_IS_KEY) - 1
_CLUSTER_UNITS: Final = MAX_RELATIVE_TIMECODE + 1  # that a cluster can span
_CLOSED: Final = -1


class Packed(NamedTuple):
    """A frame's packaging; times in ticks, truncated to timecode units.

    `header`: the bytes before the payload. `kind`: what the frame begins. `prefix_length`: how
    many bytes of `header` are the stream's head (EBML header to Tracks), 0 unless `kind` is STREAM;
    Tags go right after them. `timestamp`: decoding time; `ack_timestamp`: presentation time, of a
    frame that begins a fragment the fragment's, which acks name; `duration` of the frame.
    """

    header: bytes
    kind: FrameKind
    prefix_length: int
    timestamp: int
    ack_timestamp: int
    duration: int


_new_packed = tuple.__new__


class MkvGenerator:
    """Packages the frames of one stream.

    `content_type` (such as "video/h264,audio/aac") and `adaptation` decide how codec private data
    is read and converted. Scale and durations are in ticks. A key frame starts a cluster once
    `min_fragment_duration` has passed with `key_frame_fragmentation`, else once `fragment_duration`
    has; the first one after `end_fragment` or `close_fragment` in any case. Cluster timecodes count
    from 1970, or from the stream's first pts without `absolute_timecodes`.
    `segment_uuid` is 16 bytes; `client_id` is appended to `application` in the header. With
    `strict`, codec private data that can't be read is an error, and so is a fragment whose first
    frame has a pts other than its dts; without (as AWS), the track just has no Video or Audio
    element, and any pts will do.

    Raises `MkvError` MKV_INVALID_CONTENT_TYPE_LENGTH, _CLIENT_ID_LENGTH, _TIMECODE_SCALE,
    _CLUSTER_DURATION, _SEGMENT_UUID, _TRACK_UID, _CODEC_ID_LENGTH, _TRACK_NAME_LENGTH,
    _CODEC_PRIVATE_LENGTH, BOTH_ANNEXB_AND_AVCC_SPECIFIED, and what converting codec private data
    raises (see `codec_private`).
    """

    def __init__(
        self,
        tracks: Sequence[TrackInfo],
        *,
        content_type: str,
        timecode_scale: int = DEFAULT_TIMECODE_SCALE,
        key_frame_fragmentation: bool = True,
        fragment_duration: int = STREAM_INFO_FRAGMENT_DURATION,
        min_fragment_duration: int = 0,
        absolute_timecodes: bool = True,
        segment_uuid: bytes | None = None,
        client_id: str = "",
        application: str = APPLICATION,
        title: str = APPLICATION,
        adaptation: NalAdaptation = NalAdaptation.NONE,
        strict: bool = False,
    ) -> None:
        check_stream(
            content_type, client_id, timecode_scale, key_frame_fragmentation, fragment_duration
        )
        check_adaptation(adaptation)
        uuid = DEFAULT_SEGMENT_UUID if segment_uuid is None else segment_uuid
        check_segment_uuid(uuid)
        for number, track in enumerate(tracks, 1):
            check_track(number, track)
        self._content_type = content_type
        self._adaptation = adaptation
        self._strict = strict
        self._scale = timecode_scale
        least = min_fragment_duration if key_frame_fragmentation else fragment_duration
        self._least_timecodes = self._due = least // timecode_scale
        self._absolute = absolute_timecodes
        self._tracks = [self._complete(track) for track in tracks]
        # With a repeated id (which a StreamInfo refuses) the first track gets the frames.
        self._numbers = {
            track.track_id: 0x80 | number for number, track in reversed(list(enumerate(tracks, 1)))
        }
        self._info = segment_info(
            segment_uuid=uuid,
            timecode_scale=timecode_scale,
            title=title,
            application=f"{application} {client_id}" if client_id else application,
        )
        self._header: bytes | None = None
        self._declared = frozenset(track.track_id for track in tracks)
        self._started = False
        self._stream_pts = 0
        self._cluster_pts = 0  # timecodes, both 0 before the first frame
        self._cluster_dts = 0
        self._last_relative = MAX_RELATIVE_TIMECODE  # _CLOSED once the fragment has ended
        # `_due`: timecodes after its start from which a key frame ends the open fragment
        # A block may have a pts from there on, for so many ticks; 0 while no fragment is open.
        self.block_start = self.block_room = 0

    # --- what it is ---------------------------------------------------------------------------

    @property
    def tracks(self) -> tuple[TrackInfo, ...]:
        """The tracks as the header states them, completed from their codec private data."""
        return tuple(self._tracks)

    @property
    def started(self) -> bool:
        """Whether a frame has been packed since the beginning or the last `reset`."""
        return self._started

    @property
    def stream_start(self) -> int:
        """The time of the stream's first fragment in ticks, truncated to timecode units, or 0."""
        return self._stream_pts * self._scale

    @property
    def cluster_start(self) -> tuple[int, int]:
        """The current cluster's time, and the dts of its first frame, as `stream_start`."""
        return self._cluster_pts * self._scale, self._cluster_dts * self._scale

    def header(self) -> bytes:
        """The head of a stream alone, to precede data that is sent again in a new session."""
        if self._header is None:
            self._header = stream_header(self._info, self._tracks, self._declared)
        return self._header

    def header_for(self, track_ids: Collection[int]) -> bytes:
        """The head of a stream that declares only these tracks."""
        return stream_header(self._info, self._tracks, frozenset(track_ids))

    def overhead(self, kind: FrameKind) -> int:
        """How many bytes `pack` puts before the payload of a frame of this kind."""
        if kind is _STREAM:
            return len(self.header()) + _OVERHEADS[_CLUSTER]
        return _OVERHEADS[kind]

    def timecode_to_timestamp(self, timecode: int) -> int:
        """Stream timecode units to ticks."""
        return timecode * self._scale

    # --- frames -------------------------------------------------------------------------------

    def kind_of(self, flags: int, pts: int) -> FrameKind:
        """What a frame with these flags and pts (ticks) would begin; changes nothing."""
        if not self._started:
            return _STREAM
        if self._starts_cluster(flags, pts // self._scale - self._cluster_pts):
            return _CLUSTER
        return _BLOCK

    def _starts_cluster(self, flags: int, relative: int) -> bool:
        return _IS_KEY[flags & _ALL_FLAGS] and relative >= self._due

    def pack(
        self,
        track_id: int,
        flags: int,
        pts: int,
        dts: int,
        duration: int,
        size: int,
        fragment_pts: int | None = None,
    ) -> Packed:
        """The bytes before a frame of `size` bytes, and its times; times in and out are ticks.

        `flags` are `FrameFlags` bits. `fragment_pts` counts for a frame that starts a fragment: the
        earliest pts in there, when it is not `pts`. Raises, with nothing changed:
        MKV_TRACK_INFO_NOT_FOUND; MKV_INVALID_FRAME_DATA (no payload); MKV_MAX_FRAME_TIMECODE (a
        time is negative or above `limits.MAX_TIMESTAMP`); MKV_INVALID_FRAME_TIMESTAMP (before the
        cluster's start, or a `fragment_pts` that is not between that and `pts`);
        MKV_LARGE_FRAME_TIMECODE (over 32,767 timecode units after it);
        MKV_INVALID_GENERATOR_STATE_TAGS (a block after `end_fragment`);
        MKV_PTS_DTS_ARE_NOT_SAME (`strict` only, at a fragment's start).
        """
        # One pass, one struct call, no attribute looked up twice: this runs for every frame.
        number = self._numbers.get(track_id)
        if (
            number is None
            or not 0 < size <= _MAX_FRAME_BYTES
            or not 0 <= pts <= MAX_TIMESTAMP
            or not 0 <= dts <= MAX_TIMESTAMP
            or not 0 <= duration <= MAX_TIMESTAMP
        ):
            if number is None:
                raise track_not_found(track_id)
            raise frame_error(pts, dts, duration, size)
        if not 0 <= flags <= _ALL_FLAGS:
            flags &= _ALL_FLAGS
        scale = self._scale
        pts //= scale
        dts //= scale
        relative = pts - self._cluster_pts
        if relative < 0 or dts < self._cluster_dts:
            raise self._too_early(pts, dts)
        if self._started and not (_IS_KEY[flags] and relative >= self._due):
            if relative > self._last_relative:
                raise self._no_block(relative)
            return _new_packed(
                Packed,
                (
                    _pack_block(
                        _BLOCK_ID, _SIZE_BASE + size, number, relative, _BLOCK_FLAGS[flags]
                    ),
                    _BLOCK,
                    0,
                    dts * scale,
                    pts * scale,
                    duration - duration % scale,
                ),
            )
        start = pts if fragment_pts is None else fragment_pts // scale
        duration -= duration % scale
        return self._pack_cluster(number, flags, pts, dts, duration, size, start)

    def check(
        self,
        track_id: int,
        flags: int,
        pts: int,
        dts: int,
        duration: int,
        size: int,
        fragment_pts: int | None = None,
    ) -> None:
        """Raise what `pack` would raise for this frame; changes nothing."""
        before = self._started, self._stream_pts, self._last_relative, self._due
        cluster = self._cluster_pts, self._cluster_dts, self.block_start, self.block_room
        try:
            self.pack(track_id, flags, pts, dts, duration, size, fragment_pts)
        finally:
            self._started, self._stream_pts, self._last_relative, self._due = before
            self._cluster_pts, self._cluster_dts, self.block_start, self.block_room = cluster

    def _pack_cluster(
        self, number: int, flags: int, pts: int, dts: int, duration: int, size: int, start: int
    ) -> Packed:
        """A frame that starts a cluster, and maybe the stream; pts, dts, start are timecodes."""
        if start != pts:
            self._check_start(start, pts)
        if self._strict and pts != dts:
            raise kvs_error(
                StatusCode.MKV_PTS_DTS_ARE_NOT_SAME,
                f"the fragment's first frame has pts {pts} and dts {dts} (timecode units)",
            )
        prefix = b""
        kind = _CLUSTER
        if not self._started:
            prefix = self.header()
            kind = _STREAM
            self._started = True
            self._stream_pts = start
        self._cluster_pts = start
        self._cluster_dts = dts
        self._last_relative = MAX_RELATIVE_TIMECODE
        self._due = self._least_timecodes
        scale = self._scale
        self.block_start = start * scale
        self.block_room = min(_CLUSTER_UNITS * scale, MAX_TIMESTAMP + 1 - self.block_start)
        cluster = _pack_cluster(
            _CLUSTER_START,
            start if self._absolute else start - self._stream_pts,
            _POSITION_ZERO,
            _BLOCK_ID,
            _SIZE_BASE + size,
            number,
            pts - start,
            _BLOCK_FLAGS[flags],
        )
        return Packed(prefix + cluster, kind, len(prefix), dts * scale, start * scale, duration)

    def end_fragment(self) -> bytes:
        """The Tags element that ends the fragment at once; the next frame must start another one.

        Raises MKV_INVALID_GENERATOR_STATE_TAGS when no fragment is open: before the first frame,
        after `reset`, or when it was ended already.
        """
        if not self._started or self._last_relative == _CLOSED:
            raise kvs_error(StatusCode.MKV_INVALID_GENERATOR_STATE_TAGS, "no fragment is open")
        self._last_relative = _CLOSED
        self.block_room = 0
        self.close_fragment()
        return end_of_fragment_tag()

    def close_fragment(self) -> None:
        """Have the next key frame start a cluster, however soon it comes."""
        self._due = 0

    def keep_open(self, pts: int) -> None:
        """Have a key frame at `pts` (ticks) continue the open fragment, not start one."""
        self._due = max(self._due, pts // self._scale - self._cluster_pts + 1)

    def declare(self, track_ids: Collection[int]) -> None:
        """Have headers from the next one on declare only these tracks; the numbers stay."""
        self._declared = frozenset(track_ids)
        self._header = None

    def reset(self) -> None:
        """Forget the times: the next frame starts a new stream with a header."""
        self._started = False
        self._stream_pts = self._cluster_pts = self._cluster_dts = self.block_room = 0

    # --- codec private data -------------------------------------------------------------------

    def set_codec_private_data(self, track_id: int, data: bytes, *, adapted: bool = False) -> None:
        """Replace a track's codec private data, from the next header on.

        Empty data only removes it. `adapted` says that it is an avcC or hvcC record already,
        whatever the flags. Raises as the constructor, and MKV_TRACK_INFO_NOT_FOUND.
        """
        number = self._numbers.get(track_id)
        if number is None:
            raise track_not_found(track_id)
        check_codec_private_data(track_id, data)
        index = (number & 0x7F) - 1
        track = replace(self._tracks[index], codec_private_data=data)
        self._tracks[index] = self._complete(track, adapted=adapted)
        self._header = None

    def _complete(self, track: TrackInfo, *, adapted: bool = False) -> TrackInfo:
        return complete_track(
            track,
            self._content_type,
            convert=bool(self._adaptation & NalAdaptation.ANNEXB_CPD_NALS) and not adapted,
            strict=self._strict,
        )

    # --- what went wrong ----------------------------------------------------------------------

    def _check_start(self, start: int, pts: int) -> None:
        """A fragment's start, which is not its first frame's pts, lies before that."""
        if not self._cluster_pts <= start <= pts:
            raise kvs_error(
                StatusCode.MKV_INVALID_FRAME_TIMESTAMP,
                f"a fragment whose first frame has pts {pts} is said to start at {start}, the one "
                f"before at {self._cluster_pts} (timecode units)",
                timecode=self._cluster_pts,
            )
        if pts - start > MAX_RELATIVE_TIMECODE:
            raise self._too_late(pts - start)

    def _too_early(self, pts: int, dts: int) -> KvsError:
        return kvs_error(
            StatusCode.MKV_INVALID_FRAME_TIMESTAMP,
            f"pts {pts} or dts {dts} is before its fragment's start "
            f"(pts {self._cluster_pts}, dts {self._cluster_dts}; timecode units)",
            timecode=self._cluster_pts,
        )

    def _no_block(self, relative: int) -> KvsError:
        if self._last_relative == _CLOSED:
            return kvs_error(
                StatusCode.MKV_INVALID_GENERATOR_STATE_TAGS,
                "the fragment was ended by a tag: the next frame must start one",
                timecode=self._cluster_pts,
            )
        return self._too_late(relative)

    def _too_late(self, relative: int) -> KvsError:
        return kvs_error(
            StatusCode.MKV_LARGE_FRAME_TIMECODE,
            f"the frame is {relative} timecode units after its fragment's start, at most "
            f"{MAX_RELATIVE_TIMECODE} fit: key frames must come more often",
            timecode=self._cluster_pts,
        )
