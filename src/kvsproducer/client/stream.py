"""A stream: frames in, buffers out, acks back. The facade of the sans-I/O core, and the put path.

The life of a frame: `put_frame` checks state and order, adapts NAL units, asks the generator for
the bytes before the payload, charges the store and appends to the view; `next_buffers` hands the
buffers to an upload; `receive_ack` settles the frame. Nothing here reads a clock, waits or calls
back: after any call, take the client's effects (`Client.poll_effect`) and the events.

Not thread-safe: the shell holds its lock around every call.
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
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["Stream"]

_S = StatusCode
_OK = 200
_UNKNOWN = 10006  # the result of an upload that failed in no way that the core knows
_TIMED_OUT = 599  # the result of a connection of which nothing is known


class Stream:
    """One stream; made by `Client.open_stream`.

    `info` is the resolved `StreamInfo`. A status raised by a method is about that call; what the
    world does wrong is reported by events (`StreamErrorReported`), a fatal one also as `failure`,
    which every later `put_frame` raises.
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
        self._ack_due: int | None = None  # when the last ack is late, all else being done
        # What was put at the last call of the timer, and when the first call saw no more than that.
        self._seen = self._seen_at = 0

    # --- what it is -----------------------------------------------------------------------------
    @property
    def name(self) -> str:
        """The stream's name."""
        return self._core.name

    @property
    def info(self) -> StreamInfo:
        """The stream's description, defaults filled in."""
        return self._core.info

    @property
    def state(self) -> StreamState:
        """Where its state machine is."""
        return self._control.state

    @property
    def ready(self) -> bool:
        """Whether it has been ready to upload at least once."""
        return self._control.ready

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._core.stopped

    @property
    def closed(self) -> bool:
        """Whether it was stopped and has nothing left to send or wait for, or was freed."""
        return self._core.closed

    @property
    def freed(self) -> bool:
        """Whether `free` was called."""
        return self._core.lifecycle is Lifecycle.FREED

    @property
    def failure(self) -> KvsError | None:
        """Why it gave up for good, or None."""
        return self._core.failure

    def account(self) -> FrameAccount:
        """What became of the frames so far."""
        return self._core.buffer.ledger.account()

    @property
    def stored_until(self) -> int | None:
        """The media time up to which everything accepted is stored or was dropped; None at first.

        A pts in ticks: no frame that is held has that pts or an earlier one. It goes back when a
        frame with an earlier pts is put. After a jump back in time it follows the new time line.
        """
        return self._core.buffer.settled_until(self._intake.waiting_pts())

    @property
    def lost_pts(self) -> tuple[int, int] | None:
        """First and last pts of the newest frames that were dropped, in ticks, or None."""
        return self._core.buffer.ledger.lost_pts

    @property
    def open_fragment(self) -> int | None:
        """The pts at which the fragment begins that is being written, in ticks; None if none is."""
        buffer, newest = self._core.buffer, self._core.buffer.view.newest
        if newest is None or buffer.closed_newest:
            return None
        first = buffer.view.items.get(newest.fragment)
        return None if first is None else first.ack_timestamp

    @property
    def waiting(self) -> int:
        """How many accepted frames wait for others, which decide on their order or their time."""
        return self._intake.waiting

    def next_event(self) -> Event | None:
        """The oldest event of this stream that was not taken yet."""
        return self._core.events.pop()

    def take_events(self, kinds: tuple[type[Event], ...]) -> list[Event]:
        """The events of these kinds that were not taken yet, out of turn."""
        return self._core.events.take(kinds)

    def metrics(self, now: int, version: int = limits.STREAM_METRICS_VERSION) -> StreamMetrics:
        """A snapshot of the stream's figures; raises INVALID_STREAM_METRICS_VERSION."""
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
        """What the store is charged for what this stream holds."""
        return self._core.buffer.charged_bytes

    @property
    def drops(self) -> dict[str, int]:
        """How many accepted frames were dropped so far, by the value of their `DropReason`.

        A reason that has a status ends with the name of the last one: "invalid: MKV_...".
        """
        core = self._core
        return {
            ": ".join(filter(None, (reason.value, core.causes.get(reason)))): count
            for reason, count in core.drops.items()
            if reason is not DropReason.FREED  # of a closed stream: they count as held
        }

    # --- frames in ------------------------------------------------------------------------------
    def put_frame(self, frame: Frame, now: int) -> None:
        """Accept a frame; from then on it is stored by the service, reported as dropped, or held.

        Frames before the first key frame (and after an end-of-fragment frame, or a key frame that
        was refused) are not accepted: `FrameSkipped` reports them. Raises, with nothing changed:
        `WouldBlock` (offline streams: there is no space before an ack), STREAM_HAS_BEEN_STOPPED,
        the stream's `failure`, MKV_TRACK_INFO_NOT_FOUND, STORE_OUT_OF_MEMORY,
        MULTIPLE_CONSECUTIVE_EOFR, END_OF_FRAGMENT_FRAME_INVALID_STATE,
        CONTENT_VIEW_INVALID_TIMESTAMP, what `MkvGenerator.pack` and the order coordinator raise,
        INVALID_ARG for what is no `Frame` or has members of other types. Next: take the effects.
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
            self._cut_short(error, now)
            raise
        except BaseException as error:
            self._cut_short(error, now)
            raise

    def end_fragment(self, now: int) -> None:
        """End the open fragment, so that the service can store it; do nothing if none is open.

        The next frame must then be a key frame. Frames that wait for others, because of their order
        or their time, are put first, as they are. It needs no free space, except that an offline
        stream raises `WouldBlock` while such frames have no space.
        Raises STREAM_HAS_BEEN_STOPPED, the stream's `failure`,
        END_OF_FRAGMENT_FRAME_INVALID_STATE for fragments that are cut by time.
        """
        self._do(self._intake.end_fragment, now)

    def count_put_error(self) -> None:
        """Count a frame that the shell refused, such as one that waited for space for too long."""
        self._core.counters.put_frame_errors += 1

    def put_fragment_metadata(self, name: str, value: str, persistent: bool, now: int) -> None:
        """Queue a name and value for the next fragment; `persistent`: for every fragment.

        If the open fragment is ended explicitly (`end_fragment`, `stop`), it takes what was put
        since it started, up to its 10th item. An empty value clears a persistent item. Raises
        STREAM_HAS_BEEN_STOPPED, INVALID_ARG for what is not text, INVALID_METADATA_NAME,
        MKV_INVALID_TAG_NAME_LENGTH, MKV_INVALID_TAG_VALUE_LENGTH, and for the 11th item that waits
        for one fragment MAX_FRAGMENT_METADATA_COUNT.
        """
        del now  # of the same shape as the other calls
        self._intake.check_open()
        self._core.metadata.put(name, value, persistent)

    def put_event(
        self,
        types: int,
        now: int,
        *,
        image_prefix: str = "",
        pairs: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Ask for images (1) or a notification (2) with the next fragment; see `EventType`.

        Raises STREAM_HAS_BEEN_STOPPED, STREAM_NOT_STARTED, and as `MetadataQueue.put_event`.
        """
        del now
        self._intake.check_open()
        if not self._core.generator.started:
            raise kvs_error(_S.STREAM_NOT_STARTED, "put a frame first", stream=self.name)
        self._core.metadata.put_event(types, image_prefix, pairs)

    # --- the end and the beginning --------------------------------------------------------------
    def put_waiting(self, now: int) -> None:
        """Put the frames that wait for others, as they are, before `stop`.

        An offline stream raises `WouldBlock` while one of them has no space; `stop` drops such
        frames.
        """
        if not self._core.stopped:
            self._do(self._intake.put_waiting, now)

    def stop(self, now: int) -> None:
        """Take no more frames; what is held is still sent. `StreamEnded` follows. Idempotent."""
        if not self._core.stopped:
            self._do(self._stop, now)

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
            self._control.unpark(now)

    def reset(self, now: int) -> None:
        """Throw away everything held (reported as dropped) and begin anew.

        Revives a failed stream, and one that was stopped: it takes frames again.

        Raises STREAM_SHUTTING_DOWN for a freed stream, CLIENT_FREED_BEFORE_STREAM for one whose
        client is closed.
        """
        self._check_usable()
        self._do(self._reset, now)

    def _reset(self, now: int) -> None:
        core = self._core
        core.emit(StreamShutdown(core.name, reset=True))
        self._abandon(DropReason.RESET)
        core.failure = None
        core.lifecycle = Lifecycle.OPEN
        self._ack_due = None
        self._intake.begin_anew()
        self._control.reset(now)
        core.wake_writers()

    def free(self, now: int) -> None:
        """Throw the stream away: uploads are aborted, what is held counts as dropped."""
        if not self.freed:
            self._do(self._free, now)

    def _free(self, _now: int) -> None:
        core = self._core
        core.emit(StreamShutdown(core.name, reset=False))
        self._abandon(DropReason.FREED)
        core.attention = True
        self._control.close(None)
        core.lifecycle = Lifecycle.FREED

    def _do(self, action: Callable[[int], None], now: int) -> None:
        """Call `action(now)`; fail the stream if it raises anything but the core's exceptions."""
        try:
            action(now)
        except (KvsError, WouldBlock):
            raise
        except BaseException as error:
            self._cut_short(error, now)
            raise

    def _cut_short(self, error: BaseException, now: int) -> None:
        """Fail the stream after an exception from outside, which may come between any two lines.

        A signal handler that raises, or `PyThreadState_SetAsyncExc`, leaves a call half done.
        Nothing is repaired: everything that is held is dropped, by the counts alone, and `reset`
        begins anew. At worst the bytes that the call was about stay charged to the store.
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
        queued = [(frame.dts, frame.pts) for frame in self._intake.give_up()]
        self._end_uploads()
        core.buffer.drop_held(queued or [(now, now)], DropReason.INTERRUPTED)

    def _abandon(self, reason: DropReason) -> None:
        """Throw away everything held, frame by frame, and report it as dropped."""
        core = self._core
        for frame in self._intake.give_up():
            core.buffer.drop(frame.dts, frame.pts, reason)
        self._end_uploads()
        core.buffer.abandon(reason)

    def _end_uploads(self) -> None:
        """Give up the uploads, and the metadata for fragments to come."""
        core = self._core
        core.abort_uploads()
        for upload in list(core.uploads):
            core.uploads.remove(upload)
        self._parsers.clear()
        self._sender.forget_wire_item()
        core.metadata.clear()

    def report(self, status: StatusCode, detail: str) -> None:
        """Tell of an error that the shell has met with and that changes nothing here."""
        self._core.report(status, detail)

    def reset_connection(self, now: int, *, alive: bool = True) -> None:
        """Give the connections up and go on with new ones; what was not acknowledged is re-sent.

        It also ends the `failure` of a stream that lost its connection without `recover_on_error`.
        A host that is `alive` goes on to store what it said RECEIVED for; from one that may not be,
        no more acks are expected, and that is sent again too. Raises as `reset`.
        """
        self._check_usable()
        self._control.recover()
        self._lose_all(200 if alive else _TIMED_OUT)
        self._control.lost(200, now)

    def take_troubles(self) -> tuple[ConnectionStale | StreamLatencyPressure, ...]:
        """How the connection has been doing badly since this was last asked; newest of each."""
        found = tuple(self._core.troubles.values())
        self._core.troubles.clear()
        return found

    def _check_usable(self) -> None:
        if self._control.client_closed:
            raise kvs_error(_S.CLIENT_FREED_BEFORE_STREAM, "the client is closed", stream=self.name)
        if self.freed:
            raise kvs_error(_S.STREAM_SHUTTING_DOWN, "the stream was freed", stream=self.name)

    def _lose_all(self, result: int) -> None:
        core = self._core
        if any(upload.used for upload in core.uploads.active()):
            core.buffer.lose(result)
        core.abort_uploads()

    # --- the network ----------------------------------------------------------------------------
    def next_buffers(
        self, upload: int, limit: int, now: int
    ) -> tuple[list[bytes | memoryview], ReadStatus]:
        """Up to `limit` bytes (> 0) for the body of an upload, and what to do next.

        The buffers are the caller's own frames and small headers, by reference; an item may be cut
        anywhere. Raises UPLOAD_HANDLE_ABORTED for an upload that is unknown or over, INVALID_ARG
        for a bad limit.
        """
        return self._sender.next_buffers(upload, limit, now)

    def receive_ack(self, upload: int, data: bytes, now: int) -> tuple[bool, bool]:
        """Take bytes of an upload's response. Acks act as they complete; bad ones are events.

        Returns whether the response is of use, and whether frames are held, so that more acks are
        due. A response that goes on and on without an ack that changes anything is of no use: the
        upload is to be given up, because reading takes time from other streams.
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
        """Take an ack that the caller has parsed, as AWS's cases do; a Producer has bytes."""
        self._acks.apply(upload, self._core.uploads.find(upload), ack, now)

    def upload_ended(self, upload: int, result: int, now: int, detail: str = "") -> int:
        """The connection of an upload is gone; `result` says why (200: complete exchange).

        What it carried and was not acknowledged is sent again by another upload. Harmless for
        uploads that are over. Returns the result that counts: a complete exchange in which the
        service acknowledged nothing has failed.
        """
        core = self._core
        self._parsers.pop(upload, None)
        ended = core.uploads.find(upload)
        if ended is None:
            return result
        core.uploads.remove(ended)
        self._control.tally.upload_over(ended, now)
        if not ended.active:
            return result
        counted = result
        if result == _OK and ended.failed_quietly(now, waits_for_acks=core.buffer.waits_for_acks):
            counted = _UNKNOWN
            detail = f"{detail or 'the service ended the upload'}; it acknowledged nothing"
        self._control.tally.upload_failed(upload, counted, detail)
        self._control.in_advance = ended.used
        if ended.used:
            if core.uploads.active():
                # Another session has taken over, but only the view knows what this one lost.
                self._lose_all(result)
            core.buffer.lose(result)
        self._control.lost(result, now, detail, pause=counted != _OK)
        return counted

    # --- time -----------------------------------------------------------------------------------
    def handle_timer(self, now: int) -> None:
        """Check what only the passing of time decides; the client calls it every few seconds."""
        self._check_idle(now)
        self._check_last_ack(now)
        self._control.check_token(now)

    def _check_last_ack(self, now: int) -> None:
        """Report, once, that a stopped stream waits too long for its last PERSISTED ack."""
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
        """End the open fragment of a stream that got no frame for long (intermittent producer).

        The time counts from when the timer first saw the newest frame, not from the frame's put: a
        process that was suspended in between has not been idle.
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
        self._seen_at = now  # if it cannot be ended now, try again after as long
        with suppress(KvsError, WouldBlock):  # no caller waits for it: the fragment stays open
            self.end_fragment(now)
