"""A source: something that frames come from, ready to be put.

`open_source` says what SOURCE is (`spec.py`), opens it (`pyav.py`), describes its tracks for KVS
(`tracks.py`) and hands out frames in the order and with the times that KVS takes (`timestamps.py`,
`interleave.py`), moved so that the first one is at `start`.

Invariant: every frame of the chosen tracks is handed out, or counted in `skipped` with the reason
in `skips`. When reading breaks off, everything before comes out before the error.
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
_LOWEST_RATE: Final = 0.01  # ours, as is the highest: frames a second
_HIGHEST_RATE: Final = 1000.0
_MAX_PEEK: Final = 5_000  # ours: packets read to find the first of each track
_LEAST_APART: Final = 5 * TICKS_PER_SECOND  # ours: tracks end apart; less may fit into a fragment
_LONGEST_SLEEP_S: Final = 0.5  # ours: `close` is noticed within that
_MAX_NAMED: Final = 3  # ours: places in a message
_PACKETS_PER_S: Final = 100  # audio packets a second, at most; for the size of the view


class Source:
    """Frames of one video track, one audio track, or both; made by `open_source`.

    `tracks` (KVS track descriptions with codec private data), `content_type`, `frame_rate` (frames
    a second, 0 without video), `duration` (ticks, None if unknown), `taken` (streams of the file
    that were chosen among several, as text), `ignored` (those that are left out), `warnings` (what
    a user should know of the file, as text), `live` (frames come at their own pace), `synthetic`
    (made here), `start` (time of the first frame in ticks, None: when it is read), `hidden`
    (pictures so far that others need and that are not shown: their frames are INVISIBLE). Frames
    can be taken once.
    """

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
        self._count = 0  # frames handed out
        self._last = 0  # latest media time of them
        self._latest: MediaPacket | None = None  # the packet of the last one
        self._refusal = ""  # the first error of a frame that the producer refused
        self._arrivals: ArrivalClock | None = None  # of a live source
        self._arrival_rate: ArrivalRate | None = None  # of raw video without B-frames
        self._cut = cut
        self._fragment_duration = fragment_duration
        chosen = _tracks_of(reader, choice, name)
        self.taken = list(reader.taken)
        self.ignored = list(reader.ignored)
        self.warnings = reader.warnings  # reading adds to them
        self.hidden = 0
        self.duration = reader.duration
        self.frame_rate = next((t.rate for t in chosen if t.kind is Kind.VIDEO), 0.0)
        self._closed = False
        self._once = threading.Lock()  # is never released
        self._reading = reader.packets() if pipe is None else pipe.checked(reader.packets())
        self._packets: Iterator[MediaPacket] = self._reading
        self._first_pts: list[int] = []  # of the first packet of each track, as far as known
        self._ended = False  # the file is so short that peeking has read all of it
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
        """Frames that are not put; `skips` says which and why."""
        return self._interleaver.left_out.frames.total()

    @property
    def skips(self) -> tuple[Skip, ...]:
        """The stretches of frames that are not put, up to 100: where, how many, and why."""
        return tuple(self._interleaver.left_out.skips)

    @property
    def cut_away(self) -> int:
        """Frames that the file's edit list hides and that no other needs; they are not put."""
        return sum(self._reader.left_out[kind] for kind in self._put)

    @property
    def repairs(self) -> int:
        """Timestamps that were derived from their neighbours."""
        return self._reader.repairs + self._interleaver.repairs

    @property
    def jumps(self) -> int:
        """How often the source's times jumped, or ran away from the clock of a live source; what
        followed was moved to go on.
        """
        anchors = 0 if self._arrivals is None else self._arrivals.anchors
        return self._interleaver.timeline.jumps + anchors

    def _peek(self, kinds: set[Kind]) -> dict[Kind, bytes]:
        """The first packet of each track, read ahead of `frames`."""
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
        """The chosen tracks without those of a short file that have no frames at all.

        Raises FORMAT_ERROR when none has any.
        """
        if not self._ended:
            return chosen
        found = [track for track in chosen if track.kind in first]
        if not found:
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{self.name} has no frames, only a description of its tracks (the first part of a"
                " fragmented MP4 is like that: cat INIT SEGMENTS... > WHOLE.mp4)",
            )
        self.warnings += [
            f"the {track.kind.value} track of {self.name} has no frames, and is left out"
            for track in chosen
            if track.kind not in first
        ]
        return found

    def _may_pause(self, tracks: list[MediaTrack]) -> bool:
        """Whether a track of a file may be missing for longer than a fragment lasts.

        Formats without an index (MPEG-TS) do not say how long a track is. FFmpeg looks at their
        end, and gives a track of which it finds nothing there the length of the other one.
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
        """Return what to open a stream with: tracks, content type, adaptation and fragmentation.

        Fragments are cut at the first key frame after `fragment_duration`, and frames come in the
        right order already. Where one of two tracks may stop (a live source, a file with a track
        that is shorter) the `frame_order_mode` is one in which the stream goes on. The `options`
        are those of `StreamInfo`. Raises INVALID_ARG for an unknown one, and as `StreamInfo` does.
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
        """Frames go as they come; where a track may stop, so that the other one goes on.

        When the stream takes a track for one that has stopped depends on its type.
        """
        if len(self._put) == 1 or not self._may_stop:
            return FrameOrderMode.PASS_THROUGH
        offline = streaming_type is StreamingType.OFFLINE
        self._interleaver.grace = limits.OFFLINE_TRACK_GRACE if offline else limits.TRACK_GRACE
        return FrameOrderMode.MULTI_TRACK_NO_COMPARISON

    def frames(self, *, own_times: bool = False) -> Iterator[Frame]:
        """All frames, in decode order, times in ticks since 1970.

        The first frame is at `start`. Without a `start`, a live source has the times at which its
        bytes arrive (see `arrival.py`), and its frames come when their time has come. `own_times`
        takes a live source for a recording: its own times, from `start` or now, as fast as it
        comes.

        A frame that is damaged or that KVS would refuse is left out, with those that need it, and
        the rest comes; see `skips`. At the end of a file, not of a live source, an error says so:
        MKV_INVALID_FRAME_DATA (damaged), MKV_INVALID_FRAME_TIMESTAMP (too far from the other track
        in the file), ACK_ERR_FRAGMENT_DURATION_REACHED, ACK_ERR_FRAGMENT_SIZE_REACHED,
        ACK_ERR_FRAMES_MISSING_FOR_TRACK, FORMAT_ERROR (not one frame can be put).

        Raises READ_FILE_FAILED when reading breaks off, UNEXPECTED_EOF at the end of a file that
        was cut off and INVALID_OPERATION when the source is closed.
        """
        self._check_open()
        self._last = self._count = 0
        if self.live and self.start is None and not own_times:
            moved = self._by_arrival()
        else:
            moved = self._by_own_times()
        try:
            for packet, shift in moved:
                self._latest = packet
                yield self._framed(packet, shift)
        except KvsError as error:
            self._check_open()  # what was cut short has errors of its own
            if self._cut is None:
                raise
            raise self._broken_off(self._last) from error
        self._check_open()
        if self._cut is not None:
            raise self._broken_off(self._last)
        if not self.live:
            self._check_end()

    def _check_end(self) -> None:
        """Raise what was wrong with a file of which everything else has come."""
        encoder = ENCODERS.get(self._video_codec, "")
        lost = self._interleaver.left_out.error(self.name, self._count, encoder)
        if lost is not None:
            if self._refusal:
                lost.add_note(f"the first refusal was {self._refusal}")
            raise lost
        if self._reader.breaks:
            raise InvalidMedia(
                StatusCode.READ_FILE_FAILED,
                f"{self.name} is damaged in {self._reader.breaks} places that cannot be read;"
                " the rest is put. Put an intact copy of the file if there is one",
            )
        if self._reader.unread:
            places = "; ".join(self._reader.unread[:_MAX_NAMED])
            raise InvalidMedia(
                StatusCode.READ_FILE_FAILED,
                f"{self.name}: what could be read is put, but FFmpeg passed over {places}. Put an"
                " intact copy of the file if there is one; files that were joined have to be put"
                " one by one",
            )
        if not self._count:
            raise kvs_error(
                StatusCode.FORMAT_ERROR,
                f"{self.name}: none of its {self.skipped + self.cut_away} frames can be put:"
                " it has no key frame, or its edit list hides all",
            )

    def refused(self, error: KvsError) -> None:
        """Count the last frame that came as not put, since the producer refused it with `error`.

        Raises `error` when every frame so far was refused: then the source does not fit at all.
        """
        assert self._latest is not None
        self._count -= 1
        if not self._count:
            raise error
        self._interleaver.skip(self._latest, Reason.REFUSED)
        if not self._refusal:
            self._refusal = f"{error.status.name}: {error.detail}"

    def _framed(self, packet: MediaPacket, shift: int) -> Frame:
        """The frame of a packet whose times are moved by `shift`."""
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
        """Packets, and what moves the first one to the start."""
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
        """Packets when their time has come, and what moves them to when they arrived."""
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
        """The packets of the chosen tracks as they are put, until the source is closed."""
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
                self.close()  # what `close` had to leave while this was reading

    def _check_open(self) -> None:
        if self._closed:
            raise kvs_error(StatusCode.INVALID_OPERATION, f"{self.name} is closed: open it again")

    def _check_size(self, watch: SizeWatch, packet: MediaPacket) -> None:
        changed = watch.changed(packet.data)
        if changed is not None:
            self.warnings.append(
                f"the picture size of {self.name} changes from {changed} at video frame"
                f" {packet.number}, {seconds(packet.pts or 0)}: many players, and images and clips"
                " of KVS, go by the first size. To keep one: ffmpeg -i IN -vf scale=WIDTH:HEIGHT"
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
            f"{self.name} breaks off at byte {cut.offset:,} ({cut.reason}{missing}):"
            f" what could be read, up to {seconds(last)}, is put",
            offset=cut.offset,
        )

    def close(self) -> None:
        """End reading and close the file; `frames` gives no more.

        While another thread reads, or the one that a signal's handler closes this from, the file
        stays open until that thread has got its packet.

        FFmpeg's threads end here, not when a garbage collection finds them: that may come in a
        forked child, where they are not, and waiting for them hangs or crashes.
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
                self._let_go()

    def _let_go(self) -> None:
        """Close the file and the codecs, whatever happens meanwhile; once, for FFmpeg's sake."""
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
    """The tracks to put; raises TRACK_INFO_MISSING if there are none of that kind."""
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


def _path(spec: object) -> str:
    """The path that was given as a source; raises INVALID_ARG for other objects."""
    if isinstance(spec, bytes | os.PathLike):
        return os.fsdecode(spec)
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"a source is given as {type(spec).__name__}; give the path of a file, testsrc:, - for"
        " standard input, or an open Source. Media in memory has to be written to a file first",
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

    `frame_rate` is for raw H.264 / H.265, which carry none (default: that of their own
    parameter sets, else 25 with a warning); `start` (ticks or an aware datetime) is where the first
    frame is put in time (default: `clock()` when the first frame is read; for a pipe, the times at
    which its bytes arrive); `demuxer` forces FFmpeg's name of a format.
    A fragment begins with the first
    key frame after `fragment_duration` (seconds, a `timedelta` or ISO 8601 text; default: 1 s).
    `any_codec` takes encrypted tracks and codecs that KVS stores and does not play.

    Raises OPEN_FILE_FAILED, FORMAT_ERROR (no media, or an unsupported codec), UNEXPECTED_EOF (cut
    off with its index), TRACK_INFO_MISSING, NOT_FOUND (PyAV is missing), READ_FILE_FAILED (standard
    input is closed), INVALID_ARG (a frame rate for media with times, or out of 0.01 to 1000), or as
    `parse_spec`.
    """
    what = parse_spec(spec) if isinstance(spec, str) else FileSpec(_path(spec))
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
                arrived=pipe.arrived,
                any_codec=any_codec,
            )
        finally:
            pipe.check()
    else:
        path, name = _file_of(what)
        cut = _checked_file(path, name)
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
    """What is to be read front to back, None for a file; raises OPEN_FILE_FAILED."""
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
    """A file's path, and its name in messages."""
    return (what.path, what.path) if isinstance(what, FileSpec) else (stdin_path() or "", STDIN)


def _raw_rate(frame_rate: float) -> Fraction:
    if not _LOWEST_RATE <= frame_rate <= _HIGHEST_RATE:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"frame_rate={frame_rate:g} is not in {_LOWEST_RATE:g}..{_HIGHEST_RATE:g}",
        )
    return Fraction(frame_rate).limit_denominator(100_000)


def _check_rate(reader: MediaReader, name: str, frame_rate: float | None) -> None:
    """A frame rate that would change nothing is a mistake."""
    if frame_rate is None or reader.raw:
        return
    raise kvs_error(
        StatusCode.INVALID_ARG,
        f"frame_rate={frame_rate:g} is for raw H.264 / H.265 without times; {name} has times of its"
        " own, which are kept",
    )


def _index_cut(reader: MediaReader, size: int) -> Cut | None:
    """Return a cut that only the index shows, as in an MP4 whose last box ends with the file."""
    if reader.reach <= size:
        return None
    return Cut(size, reader.reach - size, True, "its index points past its end")


def _checked_file(path: str, name: str) -> Cut | None:
    """What can be said about a file without FFmpeg: that it opens, and whether it is whole."""
    try:
        cut = find_cut(path)
        size = os.path.getsize(path)
    except OSError as error:
        reasons = {
            FileNotFoundError: "there is no such file",
            IsADirectoryError: "it is a folder; name a media file in it",
            PermissionError: "this user may not read it",
        }
        reason = reasons.get(type(error), in_words(error))
        raise kvs_error(StatusCode.OPEN_FILE_FAILED, f"{name}: {reason}") from error
    if not size and os.path.isfile(path):
        raise kvs_error(StatusCode.FORMAT_ERROR, f"{name} is empty")
    if cut is not None and not cut.playable:
        raise kvs_error(
            StatusCode.UNEXPECTED_EOF,
            f"{name} breaks off at byte {cut.offset:,} ({cut.reason}), and without its index"
            " nothing of it can be read",
            offset=cut.offset,
        )
    return cut
