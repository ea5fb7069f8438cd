"""A stream: the facade of the sans-I/O core for frames, uploads and acks.

The life of a frame: `put_frame` checks state and order, adapts NAL units, gets the bytes before the
payload from the generator, charges the store, and appends to the view. `next_buffers` hands the
buffers to an upload. `receive_ack` records that the frame is stored. No method reads a clock, waits
or calls back. After any call, the caller fetches the events and the client's effects
(`Client.poll_effect`). An effect is a request for the caller, such as a service call.

A stream is not thread-safe: the caller must hold the client's lock around every call. In this
package, the *shell* is the code that calls the core: threads, sockets, clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from kvsproducer import limits
from kvsproducer.client.ack import AckParser, FragmentAck
from kvsproducer.client.acks import AckHandler
from kvsproducer.client.buffer.admission import WouldBlock
from kvsproducer.client.buffer.buffer import NEVER
from kvsproducer.client.buffer.ledger import FrameAccount
from kvsproducer.client.buffer.resume import anything_to_send
from kvsproducer.client.control import StreamControl
from kvsproducer.client.core import StreamCore
from kvsproducer.client.device_info import ClientInfo
from kvsproducer.client.events import (
    ConnectionStale,
    DropReason,
    Event,
    StreamLatencyPressure,
    StreamShutdown,
)
from kvsproducer.client.frame import Frame, check_types
from kvsproducer.client.intake import Intake
from kvsproducer.client.metrics import StreamMetrics, check_metrics_version
from kvsproducer.client.sender import ReadStatus, Sender
from kvsproducer.client.states import Lifecycle, StreamState, UploadState
from kvsproducer.client.stream_info import StreamInfo
from kvsproducer.duration import ticks
from kvsproducer.status import InvalidFrame, KvsError, StatusCode, kvs_error

__all__ = ["Stream"]

_S = StatusCode
_OK = 200
_UNKNOWN = 10006  # the result of an upload that failed in an unknown way
_TIMED_OUT = 599  # the result of a connection whose state is unknown


class Stream:
    """One stream; made by `Client.open_stream`.

    `info` is the resolved `StreamInfo`. An error raised by a method concerns that call. Errors of
    the service or the network are reported by events (`StreamErrorReported`). A fatal error is also
    kept as `failure`, and every later `put_frame` raises it.
    """

    def __init__(self, core: StreamCore, control: StreamControl, info: ClientInfo) -> None:
        self._core = core
        self._control = control
        self._sender = Sender(core, control)
        self._parsers: dict[int, AckParser] = {}
        self._intake = Intake(core, control, ticks(info.offline_buffer_availability_timeout))
        self._acks = AckHandler(core, control, self._intake.tracks)
        self._ends_idle_fragments = info.intermittent
        self._ack_limit = ticks(info.stop_stream_timeout)
        # when the last ack is overdue; None while other work is left
        self._ack_due: int | None = None
        # The number of frames put by the last timer call, and the time of the first call that saw
        # it.
        self._seen = self._seen_at = 0

    # --- properties -----------------------------------------------------------------------------
    @property
    def name(self) -> str:
        """The stream's name."""
        return self._core.name

    @property
    def info(self) -> StreamInfo:
        """The stream's description with the defaults filled in."""
        return self._core.info

    @property
    def state(self) -> StreamState:
        """The current state of the stream's state machine."""
        return self._control.state

    @property
    def ready(self) -> bool:
        """True if the stream has been ready to upload at least once."""
        return self._control.ready

    @property
    def stopped(self) -> bool:
        """True after `stop`."""
        return self._core.stopped

    @property
    def closed(self) -> bool:
        """True if the stream was freed, or was stopped and has nothing left to send or wait for."""
        return self._core.closed

    @property
    def freed(self) -> bool:
        """True after `free`."""
        return self._core.lifecycle is Lifecycle.FREED

    @property
    def failure(self) -> KvsError | None:
        """The error with which the stream failed permanently, or None."""
        return self._core.failure

    def account(self) -> FrameAccount:
        """Return the counts of frames so far."""
        return self._core.buffer.ledger.account()

    @property
    def stored_until(self) -> int | None:
        """The media time up to which all accepted frames are stored or dropped; None at first.

        It is a pts in ticks: no held frame has this pts or an earlier one. It decreases when a
        frame with an earlier pts is put. After a jump back in time it follows the new times.
        """
        return self._core.buffer.settled_until(self._intake.waiting_pts())

    @property
    def lost_pts(self) -> tuple[int, int] | None:
        """First and last pts of the most recent drops, in ticks, or None.

        It is None if nothing was dropped, or if media of these times has been stored since.
        """
        return self._core.buffer.ledger.lost_pts

    @property
    def open_fragment(self) -> int | None:
        """The pts at which the open fragment begins, in ticks, or None."""
        buffer, newest = self._core.buffer, self._core.buffer.view.newest
        if newest is None or buffer.closed_newest:
            return None
        first = buffer.view.items.get(newest.fragment)
        return None if first is None else first.ack_timestamp

    @property
    def waiting(self) -> int:
        """Number of accepted frames that wait until later frames decide on their order or time."""
        return self._intake.waiting

    def next_event(self) -> Event | None:
        """Return the oldest waiting event of this stream, or None."""
        return self._core.events.pop()

    def take_events(self, kinds: tuple[type[Event], ...]) -> list[Event]:
        """Remove and return the waiting events of these kinds; the others stay queued."""
        return self._core.events.take(kinds)

    def metrics(self, now: int, version: int = limits.STREAM_METRICS_VERSION) -> StreamMetrics:
        """Return a snapshot of the stream's metrics.

        Raises INVALID_STREAM_METRICS_VERSION.
        """
        check_metrics_version(
            version, limits.STREAM_METRICS_VERSION, _S.INVALID_STREAM_METRICS_VERSION
        )
        view, rates = self._core.buffer.view, self._core.rates
        counters = self._core.counters
        counters.transferred_bytes = rates.transferred
        counters.skipped_frames = (
            self._core.buffer.ledger.skipped + self._core.buffer.ledger.refused
        )
        return StreamMetrics(
            current_view_duration=view.unsent_duration,
            overall_view_duration=view.window_duration,
            current_view_size=view.unsent_bytes,
            overall_view_size=view.size_bytes,
            current_frame_rate=rates.frame,
            elementary_frame_rate=rates.elementary,
            current_transfer_rate=rates.transfer,
            uptime=now - self._core.created_at,
            counters=replace(counters),
            version=version,
        )

    @property
    def charged_bytes(self) -> int:
        """Number of bytes that the store charges to this stream."""
        return self._core.buffer.charged_bytes

    @property
    def drops(self) -> dict[str, int]:
        """Number of accepted frames dropped so far, by the value of their `DropReason`.

        If a reason has a status code, its key ends with the name of the newest one: "invalid:
        MKV_...".
        """
        core = self._core
        return {
            ": ".join(filter(None, (reason.value, core.causes.get(reason)))): count
            for reason, count in core.drops.items()
        }

    # --- frames in ------------------------------------------------------------------------------
    def put_frame(self, frame: Frame, now: int) -> None:
        """Accept a frame, and hold it until the service has stored it or it is reported as dropped.

        Frames before the first key frame are not accepted. The same applies to frames after an
        end-of-fragment frame or a refused key frame, up to the next key frame. `FrameSkipped`
        reports them.

        If it raises, nothing has changed. It raises `WouldBlock` if an offline stream has no space
        until an ack frees some. It raises STREAM_HAS_BEEN_STOPPED, the stream's `failure`,
        MKV_TRACK_INFO_NOT_FOUND, STORE_OUT_OF_MEMORY, MULTIPLE_CONSECUTIVE_EOFR,
        END_OF_FRAGMENT_FRAME_INVALID_STATE, CONTENT_VIEW_INVALID_TIMESTAMP, and the errors of
        `MkvGenerator.pack` and the order coordinator. INVALID_ARG means that `frame` is not a valid
        `Frame`. After this call, the caller must poll the client's effects.
        """
        try:
            self._intake.put(frame, now)
        except KvsError:
            self._core.counters.put_frame_errors += 1
            raise
        except WouldBlock:
            raise
        except Exception as error:
            try:
                check_types(frame, self.name)  # `Intake.put` does not, and changes nothing then
            except KvsError as wrong:
                self._core.counters.put_frame_errors += 1
                raise wrong from error
            self._handle_interruption(error, now)
            raise
        except BaseException as error:
            self._handle_interruption(error, now)
            raise

    def end_fragment(self, now: int) -> None:
        """End the open fragment, so that the service can store it; do nothing if none is open.

        The next frame must be a key frame. Frames that wait until later frames decide on their
        order or time are put first, as they are. No free space is needed, with one exception: an
        offline stream raises `WouldBlock` while there is no space for such waiting frames.

        Raises STREAM_HAS_BEEN_STOPPED, the stream's `failure`, and
        END_OF_FRAGMENT_FRAME_INVALID_STATE if fragments are cut by time.
        """
        self._run(self._intake.end_fragment, now)

    def count_put_error(self) -> None:
        """Count a frame that the caller refused, for example after waiting too long for space."""
        self._core.counters.put_frame_errors += 1

    def put_fragment_metadata(
        self, name: str, value: str, persistent: bool, now: int, *, fragment: str = "next"
    ) -> None:
        """Queue a name and value for the next fragment; with `persistent`, for every fragment.

        If the open fragment is ended explicitly (`end_fragment`, `stop`), it takes the items that
        were put since it started, up to its 10th item. If `fragment` is "this", the item is always
        written with the open fragment, which costs an end-of-fragment mark. If none is open, the
        item is written with the next one. An empty value clears a persistent item.

        Raises STREAM_HAS_BEEN_STOPPED, INVALID_METADATA_NAME, MKV_INVALID_TAG_NAME_LENGTH,
        MKV_INVALID_TAG_VALUE_LENGTH, and MAX_FRAGMENT_METADATA_COUNT for the 11th item of one
        fragment. Raises INVALID_ARG for an argument that is not text, another value of `fragment`,
        and a persistent item with `fragment` "this".
        """
        del now  # all calls of a stream take it
        self._intake.check_open()
        this = self._is_for_open_fragment(fragment)
        if persistent and fragment == "this":
            raise InvalidFrame(
                _S.INVALID_ARG,
                f"metadata item {name!r:.40} is persistent, and a persistent item goes with every"
                " fragment from the next one on: leave fragment='this' out, or put the item once"
                " with persistent=True and once with fragment='this'",
                stream=self.name,
            )
        self._core.metadata.put(name, value, persistent, this=this)

    def _is_for_open_fragment(self, fragment: object) -> bool:
        """Return whether metadata for `fragment` ("this", "next") belongs to the open fragment."""
        if fragment not in ("this", "next"):
            raise InvalidFrame(
                _S.INVALID_ARG,
                f"fragment={fragment!r}: give 'this' (the fragment that is open) or 'next'",
                stream=self.name,
            )
        return fragment == "this" and self._intake.fragment_open

    def put_event(
        self,
        types: int,
        now: int,
        *,
        image_prefix: str = "",
        pairs: Sequence[tuple[str, str]] = (),
        fragment: str = "next",
    ) -> None:
        """Request images (1) or a notification (2) for the next fragment; see `EventType`.

        Raises STREAM_HAS_BEEN_STOPPED, STREAM_NOT_STARTED, and the errors of
        `MetadataQueue.put_event`.
        """
        del now
        self._intake.check_open()
        if not self._core.generator.started:
            raise kvs_error(
                _S.STREAM_NOT_STARTED,
                "an event goes with a fragment, and no fragment has begun: put a key frame first",
                stream=self.name,
            )
        this = self._is_for_open_fragment(fragment)
        self._core.metadata.put_event(types, image_prefix, pairs, this=this)

    # --- stop, reset, free ----------------------------------------------------------------------
    def put_waiting(self, now: int) -> None:
        """Put the frames that wait for later frames, as they are, before `stop`.

        An offline stream raises `WouldBlock` while there is no space for one of them. `stop` drops
        such frames.
        """
        if not self._core.stopped:
            self._run(self._intake.put_waiting, now)

    def stop(self, now: int) -> None:
        """Accept no more frames; held frames are still sent.

        `StreamEnded` follows when nothing is left to send or to wait for. A second call does
        nothing.
        """
        if not self._core.stopped:
            self._run(self._stop, now)

    def _stop(self, now: int) -> None:
        core = self._core
        self._intake.end_waiting(now)
        core.lifecycle, core.attention = Lifecycle.STOPPED, True
        core.wake_writers()
        if core.failure is not None or not (anything_to_send(core.buffer) or core.uploads.active()):
            self._control.close(None)
        elif core.uploads.active():
            core.wake()
        else:
            self._control.leave_ready(now)

    def reset(self, now: int) -> None:
        """Drop all held frames, report them as dropped, and start over.

        A failed or stopped stream accepts frames again afterwards. Raises STREAM_SHUTTING_DOWN for
        a freed stream, and CLIENT_FREED_BEFORE_STREAM if its client is closed.
        """
        self._check_usable()
        self._run(self._reset, now)

    def _reset(self, now: int) -> None:
        core = self._core
        core.emit(StreamShutdown(core.name, reset=True))
        self._abandon(DropReason.RESET)
        core.failure = None
        core.lifecycle = Lifecycle.OPEN
        self._ack_due = None
        self._intake.restart()
        self._control.reset(now)
        core.wake_writers()

    def free(self, now: int) -> None:
        """Free the stream: abort its uploads and drop all held frames."""
        if not self.freed:
            self._run(self._free, now)

    def _free(self, _now: int) -> None:
        core = self._core
        core.emit(StreamShutdown(core.name, reset=False))
        self._abandon(DropReason.CLOSED)
        core.attention = True
        self._control.close(None)
        core.lifecycle = Lifecycle.FREED

    def _run(self, action: Callable[[int], None], now: int) -> None:
        """Call `action(now)`; fail the stream if it raises anything but the core's exceptions."""
        try:
            action(now)
        except (KvsError, WouldBlock):
            raise
        except BaseException as error:
            self._handle_interruption(error, now)
            raise

    def _handle_interruption(self, error: BaseException, now: int) -> None:
        """Fail the stream after an exception from outside, which may come between any two lines.

        A signal handler that raises, or `PyThreadState_SetAsyncExc`, leaves a call unfinished.
        Nothing is repaired: all held frames are dropped by count, and `reset` starts over. In the
        worst case, the bytes of the interrupted call stay charged to the store.
        """
        core = self._core
        failure = kvs_error(
            _S.INVALID_OPERATION,
            f"{type(error).__name__} was raised inside kvsproducer, by a signal handler, another"
            " thread or a fault of kvsproducer. A signal handler should set a flag instead of"
            " raising; reset() begins anew",
            stream=core.name,
        )
        self._control.fail(failure)
        queued = [(frame.dts, frame.pts) for frame in self._intake.take_all()]
        self._end_uploads()
        core.buffer.drop_held(queued or [(now, now)], DropReason.INTERRUPTED)

    def _abandon(self, reason: DropReason) -> None:
        """Drop all held frames, one by one, and report them as dropped."""
        core = self._core
        for frame in self._intake.take_all():
            core.buffer.drop(frame.dts, frame.pts, reason)
        self._end_uploads()
        core.buffer.abandon(reason)

    def _end_uploads(self) -> None:
        """Abort the uploads, and drop the metadata for later fragments."""
        core = self._core
        core.abort_uploads()
        for upload in list(core.uploads):
            core.uploads.remove(upload)
        self._parsers.clear()
        self._sender.forget_wire_item()
        core.metadata.clear()

    def report(self, status: StatusCode, detail: str) -> None:
        """Report an error that occurred in the caller; the state of the stream does not change."""
        self._core.report(status, detail)

    def reset_connection(self, now: int, *, alive: bool = True) -> None:
        """Replace the connections by new ones; media without an ack is sent again.

        It also clears the `failure` of a stream that lost its connection without
        `recover_on_error`. If the host is `alive`, it will store the media that it acknowledged as
        RECEIVED. Otherwise no more acks are expected, and this media is sent again too. Raises the
        errors of `reset`.
        """
        self._check_usable()
        self._control.clear_failure()
        self._handle_loss(200 if alive else _TIMED_OUT)
        self._control.handle_loss(200, now)

    def take_troubles(self) -> tuple[ConnectionStale | StreamLatencyPressure, ...]:
        """Return the connection problems since the last call, the newest of each kind."""
        found = tuple(self._core.troubles.values())
        self._core.troubles.clear()
        return found

    def _check_usable(self) -> None:
        if self._control.client_closed:
            raise kvs_error(
                _S.CLIENT_FREED_BEFORE_STREAM,
                "the stream cannot be used: its producer is closed",
                stream=self.name,
            )
        if self.freed:
            raise kvs_error(
                _S.STREAM_SHUTTING_DOWN, "the stream cannot be used: it is closed", stream=self.name
            )

    def _handle_loss(self, result: int) -> None:
        core = self._core
        if any(upload.used for upload in core.uploads.active()):
            core.buffer.handle_loss(result)
        core.abort_uploads()

    # --- uploads --------------------------------------------------------------------------------
    def next_buffers(
        self, upload: int, limit: int, now: int
    ) -> tuple[list[bytes | memoryview], ReadStatus]:
        """Return up to `limit` bytes (> 0) for the body of an upload, and what to do next.

        The buffers are the frames that the caller put and small headers, by reference. An item may
        be cut at any byte. Raises UPLOAD_HANDLE_ABORTED for an upload that is unknown or over, and
        INVALID_ARG for a bad limit.
        """
        return self._sender.next_buffers(upload, limit, now)

    def receive_ack(self, upload: int, data: bytes, now: int) -> tuple[bool, bool]:
        """Process bytes of an upload's response; invalid acks are reported as events.

        Returns two flags: whether the response is useful, and whether frames are held, so that more
        acks are expected. A long response is not useful if none of its acks changes anything. The
        caller should abort such an upload, because reading it takes time from other streams.
        """
        carrier = self._core.uploads.find(upload)
        if carrier is not None:
            carrier.useless_bytes += len(data)
        parser = self._parsers.get(upload)
        if parser is None:
            parser = self._parsers[upload] = AckParser()
        one = parser.read_one(data)
        if one is not None:
            self._acks.apply(upload, carrier, one, now)
        else:
            for ack in parser.receive_data(data):
                if isinstance(ack, FragmentAck):
                    self._acks.apply(upload, carrier, ack, now)
                else:
                    self._acks.reject(upload, ack)
        useful = carrier is None or carrier.useless_bytes <= limits.MAX_USELESS_ACK_BYTES
        return useful, self._core.buffer.ledger.held > 0

    def receive_parsed_ack(self, upload: int, ack: FragmentAck, now: int) -> None:
        """Apply an ack that the caller has parsed; AWS's test cases need it."""
        self._acks.apply(upload, self._core.uploads.find(upload), ack, now)

    def upload_ended(self, upload: int, result: int, now: int, detail: str = "") -> int:
        """Handle the end of an upload's connection, with `result` (200: complete exchange).

        Media for which it got no ack is sent again by another upload. An upload that is already
        over is only removed. Returns the result to use: a complete exchange in which the service
        acknowledged nothing counts as failed.
        """
        core = self._core
        self._parsers.pop(upload, None)
        ended = core.uploads.find(upload)
        if ended is None:
            return result
        core.uploads.remove(ended)
        self._control.tally.count_upload(ended, now)
        if not ended.active:
            return result
        counted = result
        if result == _OK and ended.failed_despite_success(
            now, waits_for_acks=core.buffer.waits_for_acks
        ):
            counted = _UNKNOWN
            detail = f"{detail or 'the service ended the upload'}; it acknowledged nothing"
        self._control.tally.report_failed_upload(upload, counted, detail)
        self._control.in_advance = ended.used
        if ended.used:
            if core.uploads.active():
                # Another session has taken over, but only the view knows what this one lost.
                self._handle_loss(result)
            core.buffer.handle_loss(result)
        self._control.handle_loss(result, now, detail, pause=counted != _OK)
        return counted

    # --- time -----------------------------------------------------------------------------------
    def handle_timer(self, now: int) -> None:
        """Check everything that depends on time alone; the client calls it every few seconds."""
        self._check_idle(now)
        self._check_last_ack(now)
        self._control.check_token(now)

    def _check_last_ack(self, now: int) -> None:
        """Report once that a stopped stream has waited too long for its last PERSISTED ack."""
        core = self._core
        if not core.stopped or not any(
            upload.state is UploadState.AWAITING_ACK for upload in core.uploads
        ):
            self._ack_due = None
        elif self._ack_due is None:
            self._ack_due = now + self._ack_limit
        elif now >= self._ack_due:
            self._ack_due = NEVER
            core.report(_S.PERSISTED_ACK_TIMEOUT, "everything is sent; the last ack is missing")

    def _check_idle(self, now: int) -> None:
        """End the open fragment if the stream of an intermittent producer is idle.

        The idle time counts from the first timer call after the newest frame, not from the put of
        that frame. So time in which the process was suspended does not count as idle.
        """
        seen = self._core.buffer.view.head + self._intake.waiting
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        if (
            not self._ends_idle_fragments
            or self._intake.idle
            or now - self._seen_at < limits.MAX_IDLE_TIME
            or self._core.stopped
            or self._core.failure is not None
            or not self._core.info.key_frame_fragmentation
        ):
            return
        self._seen_at = now  # if the fragment cannot be ended now, try again after the same time
        with suppress(KvsError, WouldBlock):  # no caller waits for this; the fragment stays open
            self.end_fragment(now)
