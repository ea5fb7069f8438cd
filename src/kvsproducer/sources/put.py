"""`put_media`: put a whole source into a stream, and return once everything is stored.

It opens the source, opens a stream with options that fit the source, puts every frame, and closes
the stream. Then it returns a `PutResult` or raises. It uses only the public API of the producer.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, Unpack

from kvsproducer import limits
from kvsproducer.client import (
    AckType,
    DeviceInfo,
    Event,
    FragmentAcked,
    Frame,
    FrameAccount,
    FrameSkipped,
    StreamErrorReported,
    StreamReady,
)
from kvsproducer.client.stream_info import StreamInfo, StreamingType, StreamOptions
from kvsproducer.duration import TICKS_PER_MS, Duration, Instant, ticks, to_seconds, to_timedelta
from kvsproducer.producer import Producer, Stream
from kvsproducer.producer.outcome import INTERRUPT_LIMIT_S, loss_error, with_last_error
from kvsproducer.reader import FragmentSummary, ReadFragment, get_media, list_fragments
from kvsproducer.service.clock import monotonic
from kvsproducer.service.config import ServiceConfig
from kvsproducer.service.connection import (
    Connection,
    ConnectionOptions,
    check_stream_name,
    connection_from,
)
from kvsproducer.sources.pacing import pace
from kvsproducer.sources.resume import StoredFragment, frames_left, last_stored
from kvsproducer.sources.skipped import Skip
from kvsproducer.sources.source import Source, TrackChoice, open_source
from kvsproducer.status import InvalidFrame, KvsError, StatusCode, kvs_error

__all__ = ["PutProgress", "PutResult", "put_media"]

_ECHO_S: Final = 0.5
_LAST_ACKS_S: Final = 120.0  # the default time-out of a put that is not offline
_NO_LIMIT_S: Final = 10.0 * 365 * 86_400  # ten years
_COUNT_LIMIT_S: Final = 5.0  # ours: counting the rest of a file for an error message
_MAX_OPEN_FRAGMENTS: Final = 1_000  # ours: fragments remembered between their acks
_REPORT_INTERVAL: Final = 20 * TICKS_PER_MS  # ours: between two calls of `progress`
_ACK_ORDER: Final = (AckType.BUFFERING, AckType.RECEIVED, AckType.PERSISTED)


@dataclass(frozen=True, slots=True)
class PutProgress:
    """The progress of a running `put_media`; times are in ticks.

    `frames`, `bytes`, `position`: number of frames, number of bytes and length of the media put so
    far.

    `buffering`, `received`, `persisted`: number of fragments that have received this ack or a later
    one.

    `latency`: time from putting the first frame of the newest persisted fragment to its PERSISTED
    ack, None before the first such ack.

    `problem`: the newest error, as text. The stream may have recovered from it.
    """

    frames: int = 0
    bytes: int = 0
    position: int = 0
    buffering: int = 0
    received: int = 0
    persisted: int = 0
    latency: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PutResult:
    """The result of a put: `frames` frames with `bytes` bytes were put, and all of them are stored.

    `fragments`: number of fragments with the ack PERSISTED (RECEIVED without retention). It is 0 if
    the caller passed `producer`.

    `skipped`, `skips`: number of frames of the source that were not put. `skips` has the places and
    reasons of the first 100 stretches of them.

    `repairs`: number of timestamps that were derived.

    `jumps`: how often the times of the source jumped. The media after a jump was moved so that it
    continues without a break.

    `hidden`: number of pictures stored as invisible. The media does not show them, but other
    pictures need them.

    `cut_away`: number of frames that the media's edit list hides and no other frame needs. They
    were not put.

    `warnings`: differences between the media and what the stream stores or plays, as text.

    `resumed`: number of frames before these that an earlier put stored.

    `duration`, `elapsed`: length of the media that was put, and of the put itself, in ticks.
    """

    stream: str
    frames: int
    bytes: int
    fragments: int
    skipped: int
    repairs: int
    duration: int
    elapsed: int
    progress: PutProgress = field(repr=False)
    hidden: int = 0
    cut_away: int = 0
    warnings: tuple[str, ...] = ()
    jumps: int = 0
    skips: tuple[Skip, ...] = ()
    resumed: int = 0


def _closed(stream: Stream, limit_s: float) -> tuple[FrameAccount, KeyboardInterrupt | None]:
    """Close `stream`, and return the account of its frames and the Ctrl-C that ended the wait.

    The second value is None without a Ctrl-C. `timeout` and shells send two signals for one Ctrl-C.
    So a Ctrl-C in the first half second is ignored, because it is a copy of an earlier one.
    """
    began = time.monotonic()
    while True:
        try:
            return stream.close(timedelta(seconds=limit_s)), None
        except KeyboardInterrupt as interrupt:
            if time.monotonic() - began > _ECHO_S:
                return stream.close(0), interrupt


class _Watch:
    """Count the frames put (caller's thread) and acknowledged (the producer's event thread)."""

    def __init__(self, report: Callable[[PutProgress], object] | None) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._reported = 0  # monotonic ticks
        self._counts = dict.fromkeys(_ACK_ORDER, 0)
        self._reached: dict[int, int] = {}  # fragment timecode in ms -> acks of _ACK_ORDER it had
        self._put_at: dict[int, int] = {}  # timecode in ms -> when its frame was put
        self._frames = self._bytes = 0
        self._first = self._end = 0
        self._latency: int | None = None
        self._problem = ""
        self.skipped = 0  # frames that came before the key frame with which their track begins
        self.warnings: list[str] = []

    def put(self, frame: Frame) -> None:
        """Count a frame that the stream accepted. Only the thread that puts frames calls this."""
        if not self._frames:
            self._first = frame.pts
        self._frames += 1
        self._bytes += len(frame.data)
        end = frame.pts + frame.duration
        if end > self._end:
            self._end = end
        if frame.key_frame:
            with self._lock:
                _remember(self._put_at, frame.pts // TICKS_PER_MS, monotonic())
        if self._report is not None:
            self._report_progress(monotonic())

    def on_event(self, event: Event) -> None:
        """Count the acks or skipped frames in a producer event, or store its warning or error."""
        now = monotonic()
        with self._lock:
            if isinstance(event, FragmentAcked):
                self._acked(event, now)
            elif isinstance(event, FrameSkipped):
                self.skipped += event.count
            elif isinstance(event, StreamReady) and event.warning:
                self.warnings.append(event.warning)
            elif isinstance(event, StreamErrorReported) and not event.fatal:  # that is raised
                self._problem = f"{event.status.name} ({event.status.hex}): {event.detail}"
            else:
                return
        self._report_progress(now)

    def _acked(self, event: FragmentAcked, now: int) -> None:
        ack = event.ack
        if ack.timecode is None or ack.ack_type not in _ACK_ORDER:
            return
        had, has = self._reached.get(ack.timecode, 0), _ACK_ORDER.index(ack.ack_type) + 1
        for kind in _ACK_ORDER[had:has]:  # an ack says what the ones before it would have said
            self._counts[kind] += 1
        _remember(self._reached, ack.timecode, max(had, has))
        if ack.ack_type is AckType.PERSISTED:
            put_at = self._put_at.pop(ack.timecode, None)
            if put_at is not None:
                self._latency = now - put_at

    def progress(self) -> PutProgress:
        """Return the current counts."""
        with self._lock:
            buffering, received, persisted = (self._counts[kind] for kind in _ACK_ORDER)
            return PutProgress(
                frames=self._frames,
                bytes=self._bytes,
                position=self._end - self._first,
                buffering=buffering,
                received=received,
                persisted=persisted,
                latency=self._latency,
                problem=self._problem,
            )

    def _report_progress(self, now: int) -> None:
        if self._report is not None and now - self._reported >= _REPORT_INTERVAL:
            self._reported = now
            self._report(self.progress())

    def end(self) -> PutProgress:
        """Return the final progress, and report it to the callback."""
        progress = self.progress()
        if self._report is not None:
            self._report(progress)
        return progress


def _remember(table: dict[int, int], key: int, value: int) -> None:
    """Set `key` in `table`, and remove the oldest entry if the table is full."""
    table[key] = value
    if len(table) > _MAX_OPEN_FRAGMENTS:
        del table[next(iter(table))]


def put_media(
    source: str | os.PathLike[str] | Source,
    stream_name: str,
    *,
    producer: Producer | None = None,
    streaming_type: StreamingType | None = None,
    retention: Duration | None = None,
    tracks: TrackChoice = "all",
    frame_rate: float | None = None,
    start: Instant | None = None,
    any_codec: bool = False,
    stream_options: StreamOptions | None = None,
    progress: Callable[[PutProgress], object] | None = None,
    timeout: Duration | None = None,
    resume: bool = False,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
    device_info: DeviceInfo | None = None,
    connection: Connection | None = None,
    **options: Unpack[ConnectionOptions],
) -> PutResult:
    """Put a file, `testsrc:`, `-` or an open `Source` into a stream; return once all is stored.

    `streaming_type`: OFFLINE puts as fast as the service stores, the others at the media's own
    pace. The default is OFFLINE for files, and REALTIME for other sources and for streams without
    retention.

    `retention`: used if the stream has to be created.

    `tracks`, `frame_rate`, `start`, `any_codec`: as in `open_source`.

    `stream_options`: override fields of `StreamInfo`.

    `progress`: called with a `PutProgress` from two threads, at most 50 times a second, and at the
    end.

    `metrics_port`, `metrics_host`: if a port is given, a `MetricsServer` listens there during the
    put.

    `producer`: the producer to use. It has its own connection and device information, so the
    arguments of the next paragraph are refused. By default `put_media` creates a producer.

    `device_info`, `connection`: for the producer that `put_media` creates. Instead of `connection`,
    the fields of a `Connection` can be given as keywords (`region_name`, `endpoint_url` ...). This
    producer does not use `continuous_retry`, so a missing network is an error.

    `timeout` (seconds, a `timedelta` or ISO 8601 text): limits how long a frame waits for space in
    the buffer while nothing is stored, and how long to wait for the last acks. By default an
    offline put has no limit, and other puts wait 120 s for the last acks. If the caller passes
    `producer`, its `offline_buffer_availability_timeout` limits the wait for space.

    `resume`: continue an offline put that was interrupted. The source, the options and `start` must
    be the same. Everything up to the last stored fragment is skipped (`PutResult.resumed` frames).
    If the interruption left that fragment incomplete, it is put again. Resuming needs the
    permissions ListFragments and GetMedia. The stream must not contain other media in that time
    range.

    Raises the errors of the source (see `Source.frames`), after the frames before the error have
    been stored. Raises the errors of the service (the statuses of `Producer` and `Stream`). Raises
    OPERATION_TIMED_OUT or PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED if frames were not stored. Raises
    INVALID_ARG for a source or an argument of another type, and if a put cannot be resumed. A note
    on the exception says how much was stored. After Ctrl-C, the frames already put have up to 10 s
    to be stored.
    """
    check_stream_name(stream_name)
    reached = connection_from(connection, options, put_media)
    _check_types(stream_options=stream_options, progress=progress, device_info=device_info)
    if producer is not None:
        _refuse_beside_producer(producer, connection, options, device_info)
    opened = source
    if not isinstance(opened, Source):
        opened = open_source(
            opened, tracks=tracks, frame_rate=frame_rate, start=start, any_codec=any_codec
        )
    watch = _Watch(progress)
    own = producer is None
    try:
        kind, info = _stream_info(opened, streaming_type, retention, stream_options)
        limit_s = _limit_s(timeout, kind)
        last = None
        if resume:
            _check_resumable(opened, kind, own=own)
            last = _last_stored(stream_name, opened, reached)
        used = producer or _producer(watch, reached, device_info, limit_s)
    except BaseException:
        if opened is not source:  # the caller's own can be put again
            opened.close()
        raise
    began = monotonic()
    try:
        with opened, _metrics(used, metrics_port, metrics_host):
            frames = opened.frames(own_times=kind is StreamingType.OFFLINE)
            reading = _Reading(opened, frames, info, last)
            _put(opened, reading, used.open_stream(stream_name, info), kind, watch, limit_s)
    finally:
        if own:
            used.close(0)
        end = watch.end()  # closing has delivered the last events
    elapsed = monotonic() - began
    return _result(stream_name, opened, watch, end, resumed=reading.resumed, elapsed=elapsed)


def _result(
    stream_name: str,
    source: Source,
    watch: _Watch,
    end: PutProgress,
    *,
    resumed: int,
    elapsed: int,
) -> PutResult:
    """Return the result of a put whose frames are all stored; `end` is the final progress."""
    if watch.skipped:
        watch.warnings.append(
            f"{watch.skipped} frames were left out: they came before the next key frame, with which"
            " their track begins again"
        )
    return PutResult(
        stream=stream_name,
        frames=end.frames - watch.skipped,
        bytes=end.bytes,
        fragments=end.persisted or end.received,
        skipped=source.skipped,
        repairs=source.repairs,
        duration=end.position,
        elapsed=elapsed,
        progress=end,
        hidden=source.hidden,
        cut_away=source.cut_away,
        warnings=(*source.warnings, *watch.warnings),
        jumps=source.jumps,
        skips=source.skips,
        resumed=resumed,
    )


def _stream_info(
    source: Source,
    kind: StreamingType | None,
    retention: Duration | None,
    options: StreamOptions | None,
) -> tuple[StreamingType, StreamInfo]:
    """Return the streaming type, and the options to open the stream with.

    If `kind` is None, the type that fits the source is used.
    """
    overrides = StreamOptions(**(options or {}))
    if retention is not None:
        overrides["retention"] = retention
    if kind is None:
        kept = to_timedelta(overrides.get("retention", 1), "retention", largest=timedelta.max)
        paced_by_nature = source.live or source.synthetic or not kept
        kind = StreamingType.REALTIME if paced_by_nature else StreamingType.OFFLINE
    overrides["streaming_type"] = kind
    return kind, source.stream_info(**overrides)


def _limit_s(timeout: Duration | None, kind: StreamingType) -> float:
    if timeout is None:
        return _NO_LIMIT_S if kind is StreamingType.OFFLINE else _LAST_ACKS_S
    return to_seconds(timeout)


def _check_types(*, stream_options: object, progress: object, device_info: object) -> None:
    """Raise INVALID_ARG for arguments that would fail only in the middle of a put."""
    for name, value, fits, wanted in (
        ("stream_options", stream_options, isinstance(stream_options, Mapping), "a mapping"),
        ("progress", progress, callable(progress), "a function that takes a PutProgress"),
        ("device_info", device_info, isinstance(device_info, DeviceInfo), "a DeviceInfo"),
    ):
        if value is not None and not fits:
            raise kvs_error(
                StatusCode.INVALID_ARG, f"{name}= is {type(value).__name__}: give {wanted}"
            )


def _refuse_beside_producer(
    producer: object,
    connection: Connection | None,
    options: ConnectionOptions,
    device_info: DeviceInfo | None,
) -> None:
    """Raise INVALID_ARG for arguments that have no effect if the caller passes `producer`."""
    if not isinstance(producer, Producer):
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"producer= is {type(producer).__name__}: give a blocking kvsproducer.Producer, or"
            " leave it out",
        )
    given = {"connection": connection, "device_info": device_info, **options}
    names = [f"{name}=" for name, value in given.items() if value is not None]
    if names:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"put_media() got both producer= and {', '.join(names)}, which only a producer that it"
            " makes itself would use: give these to the producer",
        )


def _producer(
    watch: _Watch, connection: Connection, device_info: DeviceInfo | None, limit_s: float
) -> Producer:
    """Create a producer that raises, instead of waiting, if there is no network at the start."""
    config = replace(connection.config or ServiceConfig(), continuous_retry=False)
    device = device_info or DeviceInfo()
    if not device.client_info.offline_buffer_availability_timeout:
        patience = timedelta(seconds=max(1e-6, limit_s))
        client = replace(device.client_info, offline_buffer_availability_timeout=patience)
        device = replace(device, client_info=client)
    return Producer(
        connection=replace(connection, config=config), on_event=watch.on_event, device_info=device
    )


def _check_resumable(source: Source, kind: StreamingType, *, own: bool) -> None:
    """Raise INVALID_ARG if a put cannot be resumed: where its frames were stored is not known."""
    why = ""
    if source.live or source.synthetic:
        why = f"{source.name} cannot be read again from its start"
    elif source.start is None:
        why = "give start= (--start-time), the time of the first frame of that put"
    elif kind is not StreamingType.OFFLINE:
        why = f"streaming type {kind.name}: only an offline put stores its fragments in order"
    elif not own:
        why = "producer= is given: resume with a producer that is made here"
    if why:
        raise kvs_error(StatusCode.INVALID_ARG, f"the put cannot be resumed: {why}")


def _last_stored(stream_name: str, source: Source, connection: Connection) -> StoredFragment | None:
    """Return the last fragment of the source that is stored, or None."""
    assert source.start is not None

    def between(span: tuple[int, int]) -> list[FragmentSummary]:
        return list_fragments(stream_name, between=span, connection=connection)

    def since(instant: int) -> Iterator[ReadFragment]:
        return get_media(stream_name, start=instant, connection=connection)

    return last_stored(between, since, source.start, source.duration)


def _metrics(producer: Producer, port: int | None, host: str) -> AbstractContextManager[object]:
    """Serve the producer's metrics and health over HTTP during the block, if `port` is not None."""
    if port is None:
        return nullcontext()
    from kvsproducer.observe.metrics_server import MetricsServer

    return MetricsServer(producer, port, host=host)


def _put_frames(frames: Iterable[Frame], source: Source, stream: Stream, watch: _Watch) -> None:
    for frame in frames:
        try:
            stream.put_frame(frame)
        except InvalidFrame as error:  # this frame is not fit; the next ones may be
            source.count_refused(error)
        else:
            watch.put(frame)


class _Reading:
    """The frames of a source that remain to be put, with counts of the frames read.

    `last` is the last fragment of the source that an earlier put stored, or None.
    """

    def __init__(
        self,
        source: Source,
        frames: Iterator[Frame],
        info: StreamInfo,
        last: StoredFragment | None,
    ) -> None:
        self._source = source
        self._frames = frames
        self.taken = 0  # with those that were stored already
        self.resumed = 0  # stored already
        self._left = self._frames
        if last is not None:
            least = ticks(info.fragment_duration)
            if info.key_frame_fragmentation:
                least = limits.MIN_FRAGMENT_INTERVAL
            self._left = frames_left(self._frames, last, least, self._resume)

    def _resume(self, skipped: int) -> None:
        self.taken = self.resumed = skipped

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._left:
            self.taken += 1
            yield frame

    def stored_text(self, account: FrameAccount, *, count: bool) -> str:
        """Return a text that says how many frames of the source are stored.

        With `count`, the rest of a file is read to find out how many frames it has.
        """
        stored = account.persisted + self.resumed
        if not count or self._source.live or self._source.synthetic:
            return f"{stored} of {account.accepted + self.resumed} frames that were put are stored"
        total, more = self.taken, ""
        deadline = time.monotonic() + _COUNT_LIMIT_S
        try:
            for _ in self._frames:
                total += 1
                if time.monotonic() > deadline:
                    more = "more than "
                    break
        except KvsError:  # the rest cannot be read
            more = "more than "
        return f"{stored} of {more}{total} frames of {self._source.name} are stored"


def _put(
    source: Source,
    reading: _Reading,
    stream: Stream,
    kind: StreamingType,
    watch: _Watch,
    limit_s: float,
) -> None:
    """Put every frame, then close the stream. Raise unless all of them are stored."""
    frames = iter(reading)
    if kind is not StreamingType.OFFLINE and not source.live:
        frames = pace(frames, monotonic, time.sleep)
    failure: BaseException | None = None
    try:
        try:
            stream.wait_ready(min(limit_s, 30))
            _put_frames(frames, source, stream, watch)
        except (KvsError, KeyboardInterrupt) as error:
            failure = error
            if isinstance(error, KeyboardInterrupt):
                limit_s = min(limit_s, INTERRUPT_LIMIT_S)
        account, interrupt = _closed(stream, limit_s)
    except KeyboardInterrupt as echo:  # just before the waiting that answers it
        account, interrupt = _closed(stream, min(limit_s, INTERRUPT_LIMIT_S))
        failure = failure or echo
    failure = failure or interrupt
    loss = loss_error(stream.name, account, stream.failure, stream.drops)
    try:
        if failure is None and loss is not None:
            failure = with_last_error(loss, stream.last_error)
        if failure is not None:
            if account.accepted or reading.resumed:
                count = not isinstance(failure, KeyboardInterrupt)
                note = reading.stored_text(account, count=count)
                if loss is not None:
                    note += f"; {account.dropped} were dropped"
                failure.add_note(note)
            raise failure
    finally:  # an error and the frame that it came through would keep each other, and the codecs
        del failure, interrupt
