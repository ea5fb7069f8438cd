"""A source of frames that are ready to be put.

`open_source` parses SOURCE (`spec.py`), opens it (`pyav.py`) and describes its tracks for KVS
(`tracks.py`). A `Source` yields frames in the order and with the times that KVS requires
(`timestamps.py`, `interleave.py`), moved so that the first one is at `start`.

Invariant: every frame of the chosen tracks is yielded, or counted in `skipped` with its reason in
`skips`. If reading fails, the frames before the failure are yielded before the error is raised.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from math import ceil
from types import TracebackType
from typing import BinaryIO, Final, Literal, Unpack, cast

from kvsproducer import limits
from kvsproducer.client.device_info import refuse_unknown
from kvsproducer.client.frame import Frame
from kvsproducer.client.stream_info import (
    FrameOrderMode,
    StreamInfo,
    StreamingType,
    StreamOptions,
)
from kvsproducer.duration import (
    TICKS_PER_MS,
    TICKS_PER_SECOND,
    Duration,
    Instant,
    as_timedelta,
    instant_to_ticks,
    ticks,
    to_timedelta,
)
from kvsproducer.mkv.tracks import FrameFlags, NalAdaptation, TrackInfo
from kvsproducer.service.clock import monotonic, now
from kvsproducer.sources.arrival import ArrivalClock, ArrivalRate
from kvsproducer.sources.fitting import codec_name
from kvsproducer.sources.interleave import Interleaver
from kvsproducer.sources.media import Kind, MediaPacket, MediaReader, MediaTrack
from kvsproducer.sources.pipe import STDIN, Pipe, is_pipe, stdin_path, stdin_pipe
from kvsproducer.sources.skipped import Reason, Skip
from kvsproducer.sources.spec import FileSpec, PatternSpec, StdinSpec, parse_spec
from kvsproducer.sources.timestamps import Timeline, seconds
from kvsproducer.sources.tracks import ENCODERS, PutTrack, SizeWatch, put_track
from kvsproducer.sources.truncation import Cut, find_cut
from kvsproducer.status import InvalidMedia, KvsError, StatusCode, kvs_error
from kvsproducer.status.system import in_words

__all__ = ["Source", "TrackChoice", "open_source"]

TrackChoice = Literal["all", "video", "audio"]
FRAGMENT_DURATION: Final = limits.MIN_CLUSTER_DURATION
_INVISIBLE: Final = int(FrameFlags.INVISIBLE)
_LOWEST_RATE: Final = 0.01  # our limits: frames per second
_HIGHEST_RATE: Final = 1000.0
_MAX_PEEK: Final = 5_000  # our limit: packets read to find the first of each track
_LEAST_APART: Final = (
    5 * TICKS_PER_SECOND
)  # our value: tracks that end less than this apart may share the last fragment
_LONGEST_SLEEP_S: Final = 0.5  # our value: `close` takes effect within this time
_MAX_NAMED: Final = 3  # our limit: places in a message
_PACKETS_PER_S: Final = 100  # audio packets a second, at most; for the size of the view


class Source:
    """Frames of one video track, one audio track, or both. `open_source` returns one.

    `tracks`: KVS track descriptions with codec private data.

    `content_type`: content type of the stream.

    `frame_rate`: frames per second, 0 without video.

    `duration`: in ticks, None if unknown.

    `taken`: names of the tracks that were chosen because the file has several of their kind.

    `ignored`: names of the file's tracks that are not put.

    `warnings`: messages about the file for the user.

    `live`: frames arrive at the pace of a sender. `synthetic`: the frames are of `testsrc:`.

    `start`: time of the first frame in ticks; None: the time when it is read.

    `hidden`: number of yielded pictures that are not shown but needed by others; their frames are
    INVISIBLE.

    `failed`: `frames` ended with an error of the source itself, so no more can be read from it.

    Frames can be iterated only once.
    """

    failed = False

    def __init__(
        self,
        reader: MediaReader,
        name: str,
        *,
        choice: TrackChoice = "all",
        start: int | None = None,
        fragment_duration: int = FRAGMENT_DURATION,
        cut: Cut | None = None,
        pipe: Pipe | None = None,
        synthetic: bool = False,
        any_codec: bool = False,
        clock: Callable[[], int] = now,
    ) -> None:
        self.name = name
        self.live = pipe is not None
        self.synthetic = synthetic
        self._reader = reader
        self._pipe = pipe
        self.start = start
        self._clock = clock
        self._any_codec = any_codec
        self._monotonic = monotonic
        self._sleep = time.sleep
        self._count = 0  # frames yielded so far
        self._last = 0  # latest media time of a frame
        self._latest: MediaPacket | None = None  # the packet of the last frame
        self._refusal = ""  # the first error of a frame that the producer refused
        self._arrivals: ArrivalClock | None = None  # for a live source
        self._arrival_rate: ArrivalRate | None = None  # for live raw video without B-frames
        self._cut = cut
        self._fragment_duration = fragment_duration
        chosen = _tracks_of(reader, choice, name)
        self.taken = list(reader.taken)
        self.ignored = list(reader.ignored)
        self.warnings = reader.warnings  # the reader adds to this list later
        self.hidden = 0
        self.duration = reader.duration
        self.frame_rate = next((t.rate for t in chosen if t.kind is Kind.VIDEO), 0.0)
        self._closed = False
        self._once = threading.Lock()  # never released
        self._reading = reader.packets() if pipe is None else pipe.check_packets(reader.packets())
        self._packets: Iterator[MediaPacket] = self._reading
        self._first_pts: list[int] = []  # of the first packets of the tracks that were found
        self._ended = False  # whether `_peek` read all of the file
        first = self._peek({t.kind for t in chosen})
        chosen = self._with_frames(chosen, first)
        self._put: dict[Kind, PutTrack] = {
            t.kind: put_track(
                t, first.get(t.kind, b""), alone=len(chosen) == 1, name=name, any_codec=any_codec
            )
            for t in chosen
        }
        self.tracks: list[TrackInfo] = [put.info for put in self._put.values()]
        self._may_stop = self.live or self._may_pause(chosen)
        self._interleaver = Interleaver(
            [
                replace(track, extradata=put.info.codec_private_data)
                for track, put in zip(chosen, self._put.values(), strict=True)
            ],
            fragment_duration=fragment_duration,
            timeline=Timeline(gaps=reader.gaps and not self.live),
            live=self.live,
            warnings=self.warnings,
        )
        self._size = next(
            (SizeWatch(t.codec, self._put[t.kind]) for t in chosen if t.codec in ENCODERS), None
        )
        self._video_codec = next((t.codec for t in chosen if t.kind is Kind.VIDEO), "")
        self.content_type = ",".join(put.media for put in self._put.values())

    @property
    def skipped(self) -> int:
        """Number of skipped frames; `skips` has the places and reasons."""
        return self._interleaver.left_out.frames.total()

    @property
    def skips(self) -> tuple[Skip, ...]:
        """The first 100 stretches of skipped frames: where, how many frames, and why."""
        return tuple(self._interleaver.left_out.skips)

    @property
    def cut_away(self) -> int:
        """Number of frames that the file's edit list hides and no other frame needs.

        These frames are not put.
        """
        return sum(self._reader.left_out[kind] for kind in self._put)

    @property
    def repairs(self) -> int:
        """Number of timestamps that were derived from their neighbours."""
        return self._reader.repairs + self._interleaver.repairs

    @property
    def jumps(self) -> int:
        """How often the source's times jumped, or a live source's times were corrected.

        The frames after a jump were moved, so that they continue without a break. Times of a live
        source are corrected if they diverge from the wall clock.
        """
        anchors = 0 if self._arrivals is None else self._arrivals.anchors
        return self._interleaver.timeline.jumps + anchors

    def _peek(self, kinds: set[Kind]) -> dict[Kind, bytes]:
        """Read until each track has a packet; return the bytes of the first packet of each track.

        `frames` yields these packets again.
        """
        read: list[MediaPacket] = []
        first: dict[Kind, bytes] = {}
        try:
            for packet in self._reading:
                if packet.kind not in kinds:
                    continue
                self._check_encryption(packet)
                read.append(packet)
                if packet.kind not in first:
                    first[packet.kind] = packet.data
                    self._first_pts.append(packet.pts or 0)
                if kinds <= first.keys() or len(read) == _MAX_PEEK:
                    break
            else:
                self._ended = True
        except KvsError as error:
            if not read:
                raise
            self._packets = _then(read, error)
        else:
            self._packets = chain(read, self._reading)
        return first

    def _with_frames(self, chosen: list[MediaTrack], first: dict[Kind, bytes]) -> list[MediaTrack]:
        """Return the chosen tracks; if the file was read whole, only those with frames.

        Raises FORMAT_ERROR if no track has frames.
        """
        if not self._ended:
            return chosen
        found = [track for track in chosen if track.kind in first]
        if not found:
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{self.name} has no frames, only descriptions of its tracks (the first part of a"
                " fragmented MP4 is like this: cat INIT SEGMENTS... > WHOLE.mp4)",
            )
        self.warnings += [
            f"the {track.kind.value} track of {self.name} has no frames and is not put"
            for track in chosen
            if track.kind not in first
        ]
        return found

    def _may_pause(self, tracks: list[MediaTrack]) -> bool:
        """Return whether a track of a file may have no frames for longer than a fragment lasts.

        Formats without an index (MPEG-TS) do not have the length of a track. FFmpeg looks for it at
        the end of the file. If it finds no packets of a track there, it assumes the length of the
        other track.
        """
        if len(tracks) < 2:
            return False
        if any(track.pauses for track in tracks):
            return True
        if max(self._first_pts) - min(self._first_pts) > _LEAST_APART:
            return True
        lengths = [track.length for track in tracks if track.length is not None]
        if len(lengths) < len(tracks) or (not self._reader.gaps and len(set(lengths)) == 1):
            return True
        return max(lengths) - min(lengths) > _LEAST_APART

    def stream_info(self, **options: Unpack[StreamOptions]) -> StreamInfo:
        """Return the options for a stream with these frames: tracks, content type, fragments.

        A fragment begins at the first key frame after `fragment_duration`. The stream need not sort
        frames, because they are in the right order already. One of two tracks may stop: in a live
        source, or in a file with a shorter track. Then the stream continues without it
        (`frame_order_mode`). `options` are options of `StreamInfo`, and override the options above.
        Raises INVALID_ARG for an unknown option, and what `StreamInfo` raises.
        """
        adaptation = NalAdaptation.NONE
        for put in self._put.values():
            adaptation |= put.adaptation
        rate = ceil(self.frame_rate) + (_PACKETS_PER_S if Kind.AUDIO in self._put else 0)
        buffer = to_timedelta(
            options.get("buffer_duration", as_timedelta(limits.STREAM_INFO_BUFFER_DURATION)),
            "buffer_duration",
        )
        refuse_unknown("StreamInfo", options, StreamOptions.__annotations__)
        kind = options.get("streaming_type", StreamingType.REALTIME)
        values: StreamOptions = {
            "tracks": tuple(self.tracks),
            "content_type": self.content_type,
            "nal_adaptation": adaptation,
            "key_frame_fragmentation": False,
            "fragment_duration": as_timedelta(self._fragment_duration),
            "frame_rate": max(rate, limits.STREAM_INFO_FRAME_RATE),
            "frame_order_mode": self._order_mode(kind),
            "buffer_duration": buffer,
            "replay_duration": buffer * limits.STREAM_INFO_REPLAY_FACTOR,
            "max_latency": buffer * limits.STREAM_INFO_LATENCY_FACTOR,
            "connection_staleness_duration": as_timedelta(limits.STREAM_INFO_STALENESS_DURATION),
        }
        values.update(options)
        return StreamInfo(**values)  # type: ignore[arg-type]

    def _order_mode(self, streaming_type: StreamingType) -> FrameOrderMode:
        """Return the order mode: pass frames on, or continue without a track that stopped.

        The type of the stream decides after which time a track counts as stopped.
        """
        if len(self._put) == 1 or not self._may_stop:
            return FrameOrderMode.PASS_THROUGH
        offline = streaming_type is StreamingType.OFFLINE
        self._interleaver.grace = limits.OFFLINE_TRACK_GRACE if offline else limits.TRACK_GRACE
        return FrameOrderMode.MULTI_TRACK_NO_COMPARISON

    def frames(self, *, own_times: bool = False) -> Iterator[Frame]:
        """Yield all frames, in decode order, with times in ticks since 1970.

        The first frame is at `start`. Without `start`, the frames of a live source get the times at
        which their bytes arrive (see `arrival.py`), and each one is yielded at its time. With
        `own_times`, a live source is read like a recording: with its own times, as fast as it
        arrives, and the first frame is at `start` or now.

        A frame that is damaged, or that KVS would refuse, is skipped with the frames that need it.
        The other frames are yielded; see `skips`. At the end of a file, but not of a live source,
        an error is raised for the skipped frames: MKV_INVALID_FRAME_DATA (damaged),
        MKV_INVALID_FRAME_TIMESTAMP (too far from the other track in the file),
        ACK_ERR_FRAGMENT_DURATION_REACHED, ACK_ERR_FRAGMENT_SIZE_REACHED,
        ACK_ERR_FRAMES_MISSING_FOR_TRACK, FORMAT_ERROR (no frame can be put).

        Raises READ_FILE_FAILED if reading fails, UNEXPECTED_EOF at the end of a truncated file, and
        INVALID_OPERATION if the source is closed.
        """
        self.failed = False
        try:
            yield from self._all_frames(own_times=own_times)
        except KvsError:
            self.failed = True
            raise

    def _all_frames(self, *, own_times: bool) -> Iterator[Frame]:
        self._check_open()
        self._last = self._count = 0
        if self.live and self.start is None and not own_times:
            moved = self._by_arrival()
        else:
            moved = self._by_own_times()
        try:
            for packet, shift in moved:
                self._latest = packet
                yield self._to_frame(packet, shift)
        except KvsError as error:
            self._check_open()  # a closed source may raise misleading errors
            if self._cut is None:
                raise
            raise self._broken_off(self._last) from error
        self._check_open()
        if self._cut is not None:
            raise self._broken_off(self._last)
        if not self.live:
            self._check_end()

    def _check_end(self) -> None:
        """Raise an error if the file was read to its end, but not all of it could be put."""
        encoder = ENCODERS.get(self._video_codec, "")
        lost = self._interleaver.left_out.error(self.name, self._count, encoder)
        if lost is not None:
            if self._refusal:
                lost.add_note(f"the first refusal was {self._refusal}")
            raise lost
        if self._reader.breaks:
            raise InvalidMedia(
                StatusCode.READ_FILE_FAILED,
                f"{self.name} is damaged: {self._reader.breaks} places cannot be read;"
                " the rest is put. Put an intact copy of the file if there is one",
            )
        if self._reader.unread:
            places = "; ".join(self._reader.unread[:_MAX_NAMED])
            raise InvalidMedia(
                StatusCode.READ_FILE_FAILED,
                f"{self.name}: readable frames are put, but FFmpeg skipped {places}. Put an"
                " intact copy of the file if there is one; put files that were joined"
                " one by one",
            )
        if not self._count:
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{self.name}: none of its {self.skipped + self.cut_away} frames can be put:"
                " it has no key frame, or its edit list hides all",
            )

    def count_refused(self, error: KvsError) -> None:
        """Count the last frame as skipped, because the producer refused it with `error`.

        If the producer has refused every frame so far, raise `error`: the source does not fit at
        all.
        """
        assert self._latest is not None
        self._count -= 1
        if not self._count:
            raise error
        self._interleaver.skip(self._latest, Reason.REFUSED)
        if not self._refusal:
            self._refusal = f"{error.status.name}: {error.detail}"

    def _to_frame(self, packet: MediaPacket, shift: int) -> Frame:
        """Return a frame for `packet`, with `shift` added to its times."""
        assert packet.pts is not None
        assert packet.dts is not None
        self.hidden += packet.hidden
        self._count += 1
        if packet.pts > self._last:
            self._last = packet.pts
        return Frame(
            packet.data,
            packet.pts + shift,
            dts=max(0, packet.dts + shift),
            duration=packet.duration,
            key_frame=packet.key_frame,
            track_id=self._put[packet.kind].info.track_id,
            flags=_INVISIBLE if packet.hidden else 0,
            lead=packet.lead,
        )

    def _by_own_times(self) -> Iterator[tuple[MediaPacket, int]]:
        """Yield each packet with the offset to add to its times.

        The offset moves the first frame to `start`, or to now if `start` is None.
        """
        shift: int | None = None
        for packet in self._interleaver.order(self._chosen()):
            if self._closed:
                return
            if shift is None:
                assert packet.pts is not None
                start = self._clock() if self.start is None else self.start
                first = packet.pts - packet.lead
                shift = (start // TICKS_PER_MS - first // TICKS_PER_MS) * TICKS_PER_MS
            yield packet, shift

    def _by_arrival(self) -> Iterator[tuple[MediaPacket, int]]:
        """Yield each packet when it is due, with the offset to add to its times.

        The offset turns the packet's own times into wall-clock times; it follows from when packets
        arrive.
        """
        self._arrivals = clock = ArrivalClock(self._clock, self._monotonic)
        video = self._reader.tracks[0]
        if self._reader.raw and not video.reordered:
            self._arrival_rate = ArrivalRate(int(TICKS_PER_SECOND / video.rate))
        for packet in self._interleaver.order(self._chosen()):
            shift = clock.shift(packet, self._interleaver.timeline.jumps)
            assert packet.pts is not None
            assert packet.dts is not None
            due = packet.pts - packet.lead if packet.key_frame else packet.dts
            while not self._closed and (wait := clock.wait(due + shift)) > 0:
                self._sleep(min(wait / TICKS_PER_SECOND, _LONGEST_SLEEP_S))
            if self._closed:
                return
            yield packet, shift

    def _chosen(self) -> Iterator[MediaPacket]:
        """Yield the chosen tracks' packets with the bytes to put, until the source is closed."""
        try:
            for packet in self._packets:
                if self._closed:
                    break
                put = self._put.get(packet.kind)
                if put is None:
                    continue
                self._check_encryption(packet)
                if self._arrival_rate is not None:
                    assert packet.arrived is not None
                    self._arrival_rate.set_times(packet, packet.arrived)
                data = put.payload(packet.data)
                if data is None:
                    packet.corrupt = True
                else:
                    packet.data = data
                if packet.key_frame and packet.kind is Kind.VIDEO and self._size is not None:
                    self._check_size(self._size, packet)
                yield packet
        finally:
            if self._closed:
                self.close()  # `close` left this to the reading thread

    def _check_open(self) -> None:
        if self._closed:
            raise kvs_error(StatusCode.INVALID_OPERATION, f"{self.name} is closed: open it again")

    def _check_size(self, watch: SizeWatch, packet: MediaPacket) -> None:
        changed = watch.find_change(packet.data)
        if changed is not None:
            self.warnings.append(
                f"the picture size of {self.name} changes from {changed} at video frame"
                f" {packet.number}, {seconds(packet.pts or 0)}: many players, and KVS's images and"
                " clips, use the first size. To keep one size: ffmpeg -i IN -vf scale=WIDTH:HEIGHT"
                " OUT.mp4"
            )

    def _check_encryption(self, packet: MediaPacket) -> None:
        if packet.encrypted and not self._any_codec:
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{self.name} is encrypted: {packet.kind.value} frame {packet.number} at"
                f" {seconds(packet.pts or 0)} needs a key, which KVS and its players do not have."
                " Put the decrypted file (ffmpeg -decryption_key KEY -i IN -c copy OUT.mp4), or"
                " store it as it is (--any-codec, any_codec=True)",
            )

    def _broken_off(self, last: int) -> KvsError:
        cut = self._cut
        assert cut is not None
        missing = f", {cut.missing:,} bytes are missing" if cut.missing else ""
        return kvs_error(
            StatusCode.UNEXPECTED_EOF,
            f"{self.name} is truncated at byte {cut.offset:,} ({cut.reason}{missing}):"
            f" the frames up to {seconds(last)} are put",
            offset=cut.offset,
        )

    def close(self) -> None:
        """Stop reading and close the file. `frames` yields nothing more.

        If a packet is being read now, the file is closed after that. Another thread may be reading
        it, or this thread if a signal handler calls `close`.

        This also ends FFmpeg's threads. If a later garbage collection ended them instead, it might
        run in a forked child, where these threads do not exist. Waiting for them would then hang or
        crash.
        """
        self._closed = True
        self._packets = iter(())
        reading = False
        try:
            self._reading.close()
        except ValueError as error:
            reading = not isinstance(error, KvsError)  # "generator already executing"
            if not reading:
                raise
        finally:
            if not reading:
                self._release()

    def _release(self) -> None:
        """Close the file and the codecs once, because closing them twice crashes FFmpeg."""
        if not self._once.acquire(blocking=False):
            return
        try:
            self._reader.close()
        finally:
            if self._pipe is not None:
                self._pipe.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _tracks_of(reader: MediaReader, choice: TrackChoice, name: str) -> list[MediaTrack]:
    """Return the tracks of `reader` that `choice` selects. Raises TRACK_INFO_MISSING if none."""
    chosen = [t for t in reader.tracks if choice in ("all", t.kind.value)]
    if chosen:
        return chosen
    found = ", ".join(f"{t.kind.value} ({codec_name(t.codec)})" for t in reader.tracks)
    wanted = "video or audio" if choice == "all" else choice
    raise InvalidMedia(
        StatusCode.TRACK_INFO_MISSING,
        f"{name} has no {wanted} track; it has {found or 'no media'}",
    )


def _then(read: list[MediaPacket], failure: KvsError) -> Iterator[MediaPacket]:
    yield from read
    try:
        raise failure
    finally:  # see `Interleaver.order`
        del failure


def _spec_of(spec: object) -> FileSpec | StdinSpec | PatternSpec:
    """Return the specification of a source, from the text or path that the caller gave.

    Raises INVALID_ARG for other objects, and what `parse_spec` raises.
    """
    if isinstance(spec, str):
        return parse_spec(_path(spec) if spec else spec)
    return FileSpec(_path(spec))


def _path(spec: object) -> str:
    """Return the source's path as text. Raises INVALID_ARG for an object that is not a path."""
    path = os.fsdecode(spec) if isinstance(spec, str | bytes | os.PathLike) else ""
    if path and "\0" not in path and len(path) <= limits.MAX_PATH_LEN:
        return path
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"source= is {type(spec).__name__} and not a path: give the path of a file, testsrc:, - for"
        " standard input, or an open Source. Write media in memory to a file first;"
        " single frames go to Stream.put_frame",
    )


def open_source(
    spec: str | os.PathLike[str],
    *,
    tracks: TrackChoice = "all",
    frame_rate: float | None = None,
    start: Instant | None = None,
    fragment_duration: Duration = FRAGMENT_DURATION / TICKS_PER_SECOND,
    demuxer: str | None = None,
    any_codec: bool = False,
    stdin: BinaryIO | None = None,
    clock: Callable[[], int] = now,
) -> Source:
    """Open a file, `testsrc:` or `-` (standard input, or `stdin`).

    `frame_rate`: frames per second of raw H.264 / H.265, which has no times (default: that of its
    parameter sets, else 25 with a warning).

    `fragment_duration`: a fragment begins at the first key frame after this time (seconds, a
    `timedelta` or ISO 8601 text; default: 1 s).

    `start`: time of the first frame, in ticks or as an aware datetime (default: `clock()` when it
    is read; for a pipe, the times at which its bytes arrive).

    `demuxer`: FFmpeg's name of a format, to skip detection.

    `any_codec`: accept encrypted tracks, and codecs that KVS stores but does not play.

    Raises OPEN_FILE_FAILED, FORMAT_ERROR (no media, or an unsupported codec), UNEXPECTED_EOF
    (truncated, without its index), TRACK_INFO_MISSING, NOT_FOUND (PyAV is not installed),
    READ_FILE_FAILED (standard input is closed), INVALID_ARG (a frame rate for media with times, or
    outside 0.01 to 1000), and what `parse_spec` raises.
    """
    what = _spec_of(spec)
    from kvsproducer.sources.pyav import ContainerReader, PatternReader

    raw_rate = None if frame_rate is None else _raw_rate(frame_rate)
    reader: MediaReader
    cut: Cut | None = None
    pipe: Pipe | None = None
    if isinstance(what, PatternSpec):
        name, reader = "testsrc:", PatternReader(what)
    elif (pipe := _pipe_of(what, stdin)) is not None:
        name = pipe.name
        try:
            reader = ContainerReader(
                cast(BinaryIO, pipe),
                name,
                demuxer=demuxer,
                raw_rate=raw_rate,
                arrived=pipe.arrival,
                any_codec=any_codec,
            )
        finally:
            pipe.check()
    else:
        path, name = _file_of(what)
        cut = _check_file(path, name)
        reader = ContainerReader(
            path, name, demuxer=demuxer, raw_rate=raw_rate, any_codec=any_codec
        )
        if cut is None and os.path.isfile(path):
            cut = _index_cut(reader, os.path.getsize(path))
    try:
        _check_rate(reader, name, frame_rate)
        return Source(
            reader,
            name,
            choice=tracks,
            start=None if start is None else instant_to_ticks(start),
            fragment_duration=ticks(to_timedelta(fragment_duration, "fragment_duration")),
            cut=cut,
            pipe=pipe,
            synthetic=isinstance(what, PatternSpec),
            any_codec=any_codec,
            clock=clock,
        )
    except BaseException:
        reader.close()
        raise


def _pipe_of(what: FileSpec | StdinSpec, stdin: BinaryIO | None) -> Pipe | None:
    """Return a `Pipe` for a source that can be read only once, or None for a file.

    Raises OPEN_FILE_FAILED.
    """
    if isinstance(what, StdinSpec):
        if stdin is not None:
            return Pipe(stdin, STDIN)
        return stdin_pipe() if stdin_path() is None else None
    if not is_pipe(what.path):
        return None
    try:
        return Pipe(open(what.path, "rb"), what.path, own=True)
    except OSError as error:
        detail = f"{what.path}: {in_words(error)}"
        raise kvs_error(StatusCode.OPEN_FILE_FAILED, detail) from error


def _file_of(what: FileSpec | StdinSpec) -> tuple[str, str]:
    """Return a file's path, and its name in messages."""
    return (what.path, what.path) if isinstance(what, FileSpec) else (stdin_path() or "", STDIN)


def _raw_rate(frame_rate: float) -> Fraction:
    if not isinstance(frame_rate, int | float | Fraction) or isinstance(frame_rate, bool):
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"frame_rate={frame_rate!r} is not a number of frames per second",
        )
    if not _LOWEST_RATE <= frame_rate <= _HIGHEST_RATE:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"frame_rate={frame_rate:g} is not in {_LOWEST_RATE:g}..{_HIGHEST_RATE:g}",
        )
    return Fraction(frame_rate).limit_denominator(100_000)


def _check_rate(reader: MediaReader, name: str, frame_rate: float | None) -> None:
    """Raise INVALID_ARG for a frame rate that would have no effect, because the media has times."""
    if frame_rate is None or reader.raw:
        return
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"frame_rate={frame_rate:g} is for raw H.264 / H.265 without times; {name} has times,"
        " which are kept: leave frame_rate out",
    )


def _index_cut(reader: MediaReader, size: int) -> Cut | None:
    """Return a cut that only the index shows, as in an MP4 that was truncated between two boxes."""
    if reader.reach <= size:
        return None
    return Cut(size, reader.reach - size, True, "its index refers to bytes past its end")


def _check_file(path: str, name: str) -> Cut | None:
    """Check that a file can be opened, and return where it is truncated, or None."""
    try:
        cut = find_cut(path)
        size = os.path.getsize(path)
    except OSError as error:
        reasons = {
            FileNotFoundError: "there is no such file",
            IsADirectoryError: "it is a folder; name a media file in it",
            PermissionError: "this user has no permission to read it",
        }
        reason = reasons.get(type(error), in_words(error))
        raise kvs_error(StatusCode.OPEN_FILE_FAILED, f"{name}: {reason}") from error
    if not size and os.path.isfile(path):
        raise kvs_error(StatusCode.FORMAT_ERROR, f"{name} is empty")
    if cut is not None and not cut.playable:
        raise kvs_error(
            StatusCode.UNEXPECTED_EOF,
            f"{name} is truncated at byte {cut.offset:,} ({cut.reason}), and without its index"
            " nothing of it can be read",
            offset=cut.offset,
        )
    return cut
