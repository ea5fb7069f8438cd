"""The Matroska generator: makes the bytes before each frame's payload, as AWS's producer does.

A stream is a header (EBML, Segment of unknown size, Info, Tracks), followed by fragments. A
fragment is a Cluster of unknown size { Timestamp, Position 0, SimpleBlock ... }; RFC 9559 sections
5.1.3 and 10. There are no Cues, no durations and no lacing. The caller puts Tags (fragment
metadata) between the header and the Cluster. `pack` returns only the bytes before the payload; the
payload itself is not passed to the generator.

A cluster's Timestamp is the pts of its first frame, as in AWS's producer. If later frames are shown
before the first one (open groups of pictures), the caller passes their earliest pts instead.
Matroska would allow blocks before the Timestamp, but the service's rules do not.

Invariants:

- A call that raises does not change the generator.
- No frame is earlier than the start of its cluster.
- The relative timecode of a block fits into 16 bits.
- No block follows the tag that ended its fragment.
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
"""The default of AWS's packager; the client in this package always passes a random UUID."""

# SimpleBlock: id, 8-byte size, track number, signed relative timecode, flags.
_pack_block = struct.Struct(">BQBhB").pack
# Cluster of unknown size, Timestamp of 8 bytes, Position 0, then a SimpleBlock as above.
_CLUSTER_START: Final = bytes.fromhex("1f43b675ff e788")
_POSITION_ZERO: Final = bytes.fromhex("a78100")
_pack_cluster = struct.Struct(">7sQ3sBQBhB").pack
_BLOCK_ID: Final = 0xA3
_BLOCK_LEAD: Final = 4  # bytes of track number, timecode and flags: part of the block's size
_SIZE_BASE: Final = (1 << 56) + _BLOCK_LEAD
_MAX_FRAME_BYTES: Final = MAX_EBML_NUMBER - _BLOCK_LEAD
_OVERHEADS: Final = {
    FrameKind.BLOCK: struct.calcsize(">BQBhB"),
    FrameKind.CLUSTER: struct.calcsize(">7sQ3sBQBhB"),
}

_BLOCK, _CLUSTER, _STREAM = FrameKind.BLOCK, FrameKind.CLUSTER, FrameKind.STREAM


def _block_flags(flags: int) -> int:
    """Return the SimpleBlock flags (RFC 9559 section 10.2) for frame flags."""
    return (
        (0x80 if flags & FrameFlags.KEY else 0)
        | (0x08 if flags & FrameFlags.INVISIBLE else 0)
        | (0x01 if flags & FrameFlags.DISCARDABLE else 0)
    )


# Tables instead of bit tests, because `&` on a FrameFlags takes longer than packing a frame.
_BLOCK_FLAGS: Final = tuple(_block_flags(flags) for flags in range(16))
_IS_KEY: Final = tuple(bool(flags & FrameFlags.KEY) for flags in range(16))
_ALL_FLAGS: Final = len(_IS_KEY) - 1
_CLUSTER_UNITS: Final = MAX_RELATIVE_TIMECODE + 1  # longest cluster, in timecode units
_CLOSED: Final = -1


class Packed(NamedTuple):
    """The result of packing a frame; times are in ticks, rounded down to timecode units.

    `header` is the bytes before the payload. `kind` says whether the frame begins a cluster or a
    stream. `prefix_length` is the size in bytes of the stream header at the beginning of `header`,
    0 unless `kind` is STREAM; Tags belong directly after it. `timestamp` is the decoding time and
    `duration` the duration of the frame. `ack_timestamp` is the presentation time; for a frame that
    begins a fragment, it is the time that the service names in its acks for the fragment.
    """

    header: bytes
    kind: FrameKind
    prefix_length: int
    timestamp: int
    ack_timestamp: int
    duration: int


_new_packed = tuple.__new__


class MkvGenerator:
    """Packs the frames of one stream into Matroska.

    `content_type` (such as "video/h264,audio/aac") and `adaptation` determine how codec private
    data is parsed and converted. `timecode_scale` and the durations are in ticks.

    A key frame starts a new cluster if the open one has lasted `min_fragment_duration` (with
    `key_frame_fragmentation`) or `fragment_duration` (without). The first key frame after
    `end_fragment` or `close_fragment` always starts one. Cluster timecodes are relative to 1970
    with `absolute_timecodes`, else to the stream's first pts.

    `segment_uuid` has 16 bytes; `client_id` is appended to `application` in the header. With
    `strict`, codec private data that cannot be parsed is an error. So is a fragment whose first
    frame has different pts and dts. Without `strict` (as in AWS's producer), a track with such data
    has no Video or Audio element, and any pts is accepted.

    Raises MKV_INVALID_CONTENT_TYPE_LENGTH, _CLIENT_ID_LENGTH, _TIMECODE_SCALE,
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
        # `_due`: timecodes after the cluster's start from which a key frame starts a new cluster.
        # Blocks of the open fragment may have a pts from `block_start` up to, but not including,
        # `block_start + block_room` (ticks). `block_room` is 0 if no fragment is open.
        self.block_start = self.block_room = 0

    # --- state --------------------------------------------------------------------------------

    @property
    def tracks(self) -> tuple[TrackInfo, ...]:
        """The tracks in the media header, with the values from their codec private data."""
        return tuple(self._tracks)

    @property
    def started(self) -> bool:
        """True if a frame has been packed since construction or the last `reset`."""
        return self._started

    @property
    def stream_start(self) -> int:
        """The time of the stream's first fragment in ticks, rounded down to timecode units."""
        return self._stream_pts * self._scale

    @property
    def cluster_start(self) -> tuple[int, int]:
        """The open cluster's time and its first frame's dts, in ticks, both rounded down."""
        return self._cluster_pts * self._scale, self._cluster_dts * self._scale

    def header(self) -> bytes:
        """Return the stream header. A new session needs it before data that is sent again."""
        if self._header is None:
            self._header = stream_header(self._info, self._tracks, self._declared)
        return self._header

    def header_for(self, track_ids: Collection[int]) -> bytes:
        """Return a stream header that declares only these tracks."""
        return stream_header(self._info, self._tracks, frozenset(track_ids))

    def overhead(self, kind: FrameKind) -> int:
        """Return the size in bytes of `Packed.header` for a frame of this kind."""
        if kind is _STREAM:
            return len(self.header()) + _OVERHEADS[_CLUSTER]
        return _OVERHEADS[kind]

    def timecode_to_timestamp(self, timecode: int) -> int:
        """Convert timecode units to ticks."""
        return timecode * self._scale

    # --- frames -------------------------------------------------------------------------------

    def kind_of(self, flags: int, pts: int) -> FrameKind:
        """Return what a frame with these flags and pts (ticks) would begin. Change nothing."""
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
        """Return the bytes before a frame with `size` bytes of payload, and the frame's times.

        All times are in ticks. `flags` are `FrameFlags` bits. `fragment_pts` is used only if the
        frame starts a fragment: the earliest pts in the fragment, if it is not `pts`.

        Raises, and changes nothing: MKV_TRACK_INFO_NOT_FOUND; MKV_INVALID_FRAME_DATA (no payload);
        MKV_MAX_FRAME_TIMECODE (a time is negative or above `limits.MAX_TIMESTAMP`);
        MKV_INVALID_FRAME_TIMESTAMP (a time is before the cluster's start, or `fragment_pts` is not
        between that and `pts`); MKV_LARGE_FRAME_TIMECODE (more than 32,767 timecode units after the
        cluster's start); MKV_INVALID_GENERATOR_STATE_TAGS (a block after `end_fragment`);
        MKV_PTS_DTS_ARE_NOT_SAME (at the start of a fragment, only with `strict`).
        """
        # This runs for every frame, so it has one struct call and no repeated attribute access.
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
        """Raise what `pack` would raise for this frame. Change nothing."""
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
        """Pack a frame that starts a cluster, and possibly the stream.

        `pts`, `dts` and `start` (the time of the cluster) are in timecode units, `duration` is in
        ticks.
        """
        if start != pts:
            self._check_start(start, pts)
        if self._strict and pts != dts:
            raise kvs_error(
                StatusCode.MKV_PTS_DTS_ARE_NOT_SAME,
                f"the fragment's first frame has pts {pts} and dts {dts} (timecode units); "
                "they must be equal",
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
        """Close the fragment, and return the Tags element that makes the service close it too.

        The next frame must start a new fragment. Raises MKV_INVALID_GENERATOR_STATE_TAGS if no
        fragment is open: before the first frame, after `reset`, or after `end_fragment`.
        """
        if not self._started or self._last_relative == _CLOSED:
            raise kvs_error(
                StatusCode.MKV_INVALID_GENERATOR_STATE_TAGS, "there is no open fragment to end"
            )
        self._last_relative = _CLOSED
        self.block_room = 0
        self.close_fragment()
        return end_of_fragment_tag()

    def close_fragment(self) -> None:
        """Make the next key frame start a cluster, even before the minimum duration has passed."""
        self._due = 0

    def keep_open(self, pts: int) -> None:
        """Make a key frame at `pts` (ticks) continue the open fragment instead of starting one."""
        self._due = max(self._due, pts // self._scale - self._cluster_pts + 1)

    def declare(self, track_ids: Collection[int]) -> None:
        """Declare only these tracks in all later headers; the track numbers do not change."""
        self._declared = frozenset(track_ids)
        self._header = None

    def reset(self) -> None:
        """Forget the times, so that the next frame starts a new stream with a header."""
        self._started = False
        self._stream_pts = self._cluster_pts = self._cluster_dts = self.block_room = 0

    # --- codec private data -------------------------------------------------------------------

    def set_codec_private_data(self, track_id: int, data: bytes, *, adapted: bool = False) -> None:
        """Replace a track's codec private data in all later headers.

        Empty data removes it. `adapted` means that the data is an avcC or hvcC record and must not
        be converted. Raises MKV_TRACK_INFO_NOT_FOUND, and the constructor's errors for such data.
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

    # --- errors -------------------------------------------------------------------------------

    def _check_start(self, start: int, pts: int) -> None:
        """Raise if a fragment cannot start at `start`; times are in timecode units.

        The start must not be after the first frame, too long before it, or before the last
        fragment.
        """
        if not self._cluster_pts <= start <= pts:
            raise kvs_error(
                StatusCode.MKV_INVALID_FRAME_TIMESTAMP,
                f"a fragment cannot start at {start}: its first frame has pts {pts}, and the "
                f"fragment before it starts at {self._cluster_pts} (timecode units)",
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
                "a tag has ended the fragment: the next frame must start a new one",
                timecode=self._cluster_pts,
            )
        return self._too_late(relative)

    def _too_late(self, relative: int) -> KvsError:
        return kvs_error(
            StatusCode.MKV_LARGE_FRAME_TIMECODE,
            f"the frame is {relative} timecode units after its fragment's start, more than "
            f"{MAX_RELATIVE_TIMECODE}: produce key frames more often",
            timecode=self._cluster_pts,
        )
