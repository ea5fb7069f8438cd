"""A stream: frames in, buffers out, acks back. The facade of the sans-I/O core, and the put path.

The life of a frame: `put_frame` checks state and order, adapts NAL units, asks the generator for
the bytes before the payload, charges the store and appends to the view; `next_buffers` hands the
buffers to an upload; `receive_ack` settles the frame. Nothing here reads a clock, waits or calls
back: after any call, take the client's effects (`Client.poll_effect`) and the events.

Not thread-safe: the shell holds its lock around every call.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from kvsproducer import limits
from kvsproducer.client.account import FrameAccount
from kvsproducer.client.ack import AckParser, FragmentAck
from kvsproducer.client.acks import AckHandler
from kvsproducer.client.admission import Admission, WouldBlock
from kvsproducer.client.control import StreamControl
from kvsproducer.client.core import StreamCore
from kvsproducer.client.events import DropReason, Event, FrameSkipped, StreamShutdown
from kvsproducer.client.frame import FLAG_END_OF_FRAGMENT, FLAG_KEY, Frame
from kvsproducer.client.frame_order import FrameOrderCoordinator
from kvsproducer.client.metrics import StreamMetrics
from kvsproducer.client.rollback import anything_to_send
from kvsproducer.client.sender import ReadStatus, Sender
from kvsproducer.client.states import StreamState
from kvsproducer.client.stream_info import FrameOrderMode, StreamInfo
from kvsproducer.mkv.adaptation import FrameAdapter
from kvsproducer.mkv.tags import end_of_fragment_tag
from kvsproducer.status import KvsError, StatusCode, kvs_error
from kvsproducer.view import END_OF_FRAGMENT, FRAGMENT_START, STREAM_START, ViewItem

__all__ = ["Stream"]

_S = StatusCode
_KIND_FLAGS: Final = (0, FRAGMENT_START, STREAM_START | FRAGMENT_START)  # by FrameKind


class Stream:
    """One stream; made by `Client.open_stream`.

    `info` is the resolved `StreamInfo`. A status raised by a method is about that call; what the
    world does wrong is told by events (`StreamErrorReported`), a fatal one also as `failure`,
    which every later `put_frame` raises.
    """

    def __init__(self, core: StreamCore, control: StreamControl, waits: int, idle: bool) -> None:
        self._core = core
        self._control = control
        self._sender = Sender(core, control)
        self._acks = AckHandler(core, control)
        self._parsers: dict[int, AckParser] = {}
        self._adapter = FrameAdapter(
            core.info.tracks, core.info.nal_adaptation, content_type=core.info.content_type
        )
        self._admission = Admission(core, waits)
        self._order = (
            None
            if core.info.frame_order_mode is FrameOrderMode.PASS_THROUGH
            else FrameOrderCoordinator(
                core.info.tracks, core.info.frame_order_mode, core.info.timecode_scale
            )
        )
        self._track_ids = frozenset(track.track_id for track in core.info.tracks)
        self._converted = self._adapter.converted
        self._records: dict[int, bytes] = {}  # codec private data taken from key frames
        self._after_eofr = False
        self._ends_idle_fragments = idle
        self._last_put: int | None = None  # for the idle check; None: no fragment is open
        self._max_latency = core.info.max_latency
        # Looked up with every frame.
        self._view, self._store, self._generator = core.view, core.store, core.generator
        self._uploads = core.uploads
        self._own_times = not core.info.frame_timecodes

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
        return self._core.freed

    @property
    def failure(self) -> KvsError | None:
        """Why it gave up for good, or None."""
        return self._core.failure

    def account(self) -> FrameAccount:
        """What became of the frames so far."""
        return self._core.ledger.account()

    def next_event(self) -> Event | None:
        """The oldest event of this stream that was not taken yet."""
        return self._core.events.pop()

    def metrics(self, now: int) -> StreamMetrics:
        """A snapshot of the stream's figures."""
        view, rates = self._core.view, self._core.rates
        counters = self._core.counters
        counters.transferred_bytes = rates.transferred
        counters.skipped_frames = self._core.ledger.skipped + self._core.ledger.refused
        return StreamMetrics(
            current_view_duration=view.unsent_duration,
            overall_view_duration=view.window_duration,
            current_view_size=view.unsent_bytes,
            overall_view_size=view.size_bytes,
            current_frame_rate=rates.frame,
            elementary_frame_rate=rates.elementary,
            current_transfer_rate=rates.transfer,
            uptime=now - self._core.created_at,
            counters=counters,
        )

    # --- frames in ------------------------------------------------------------------------------
    def put_frame(self, frame: Frame, now: int) -> None:
        """Accept a frame; from then on it is stored by the service, reported as dropped, or held.

        Frames before the first key frame (and after an end-of-fragment frame) are not accepted:
        `FrameSkipped` tells. Raises, with nothing changed: `WouldBlock` (offline streams: there is
        no space before an ack), STREAM_HAS_BEEN_STOPPED, the stream's `failure`,
        MKV_TRACK_INFO_NOT_FOUND, STORE_OUT_OF_MEMORY, MULTIPLE_CONSECUTIVE_EOFR,
        END_OF_FRAGMENT_FRAME_INVALID_STATE, CONTENT_VIEW_INVALID_TIMESTAMP, what
        `MkvGenerator.pack` and the order coordinator raise. Next: take the effects.
        """
        try:
            if self._order is not None:
                self._put_in_order(frame, now)
            elif self._put(frame, now):
                self._core.ledger.accepted += 1
        except KvsError:
            self._core.counters.put_frame_errors += 1
            raise

    def _put_in_order(self, frame: Frame, now: int) -> None:
        """Put a frame through the order coordinator; what it held before comes first."""
        order, ledger = self._order, self._core.ledger
        assert order is not None, "the caller looked"
        order.check(frame)
        self._check_open()
        self._admission.check_queued(len(frame.data), now)
        if frame.flags & FLAG_END_OF_FRAGMENT:
            self._drain(now, flush=True)
            self._put(frame, now)
            order.end_fragment()
            return
        order.put(frame)
        ledger.accepted += 1
        self._drain(now, flush=False)

    def _drain(self, now: int, *, flush: bool) -> None:
        """Store the frames whose turn it is. They were accepted: what fails is reported."""
        assert self._order is not None, "the caller looked"
        for frame in self._order.ready(flush=flush):
            try:
                if not self._put(frame, now):
                    self._core.ledger.accepted -= 1
            except KvsError as error:
                self._core.report(error.status, error.detail)
                self._core.ledger.drop(frame.dts, frame.dts, 1, DropReason.INVALID)

    def _put(self, frame: Frame, now: int) -> bool:
        """Store one frame; False when it was skipped, or was an end-of-fragment mark.

        This runs for every frame, so the rule is straight on and all exceptions are elsewhere.
        """
        flags = frame.flags
        core = self._core
        if (core.attention or now >= self._control.due or flags & FLAG_END_OF_FRAGMENT) and (
            not self._attend(frame, now)
        ):
            return False
        track_id = frame.track_id
        data = frame.data
        payload: Sequence[bytes | memoryview] = (data,)
        size = len(data)
        if track_id in self._converted:
            payload, size = self._adapter.adapt(track_id, data)
        pts, dts = (now, now) if self._own_times else (frame.pts, frame.dts)
        if flags & FLAG_KEY:
            room, metadata = self._prepare_key(frame, payload, size, pts, dts)
        else:
            room, metadata = size + limits.MAX_BLOCK_HEADER_BYTES, b""
        charge = room + limits.ITEM_OVERHEAD_BYTES + limits.BUFFER_OVERHEAD_BYTES * len(payload)
        store, view, quiet = self._store, self._view, self._admission
        if (
            room > quiet.largest
            or store.used_bytes + charge > quiet.bytes
            or view.end_time - view.start_time > quiet.ticks
            or view.head - view.tail >= view.capacity
            or not store.charge(charge)
        ):
            quiet.admit(room, charge, now)
        try:
            header, kind, prefix_length, timestamp, ack_timestamp, duration = self._generator.pack(
                track_id, flags, pts, dts, frame.duration, size
            )
            if metadata:
                header = header[:prefix_length] + metadata + header[prefix_length:]
            item = ViewItem(
                timestamp,
                ack_timestamp,
                duration,
                _KIND_FLAGS[kind],
                header,
                prefix_length,
                payload,
                len(header) + size,
                charge,
            )
            view.append(item)
        except KvsError:
            store.release(charge)
            raise
        self._last_put = now
        if kind:
            self._fragment_started(item, now)
        if self._max_latency and view.head - view.current > 1:
            quiet.check_latency(self._max_latency)
        upload = self._uploads.reader
        if upload is not None and upload.idle:
            core.wake(upload)
        return True

    def _prepare_key(
        self, frame: Frame, payload: Sequence[bytes | memoryview], size: int, pts: int, dts: int
    ) -> tuple[int, bytes]:
        """The most that a key frame's item may take, and the metadata that goes with it."""
        core = self._core
        self._check_order(dts)
        self._take_parameter_sets(frame.track_id, payload)
        kind = core.generator.kind_of(frame.flags, pts)
        metadata = core.metadata.pending(only_new=False) if kind and core.metadata else b""
        return size + core.generator.overhead(kind) + len(metadata), metadata

    def _take_parameter_sets(self, track_id: int, payload: Sequence[bytes | memoryview]) -> None:
        """Use what a key frame says about its track; a change begins a new session."""
        record = self._adapter.codec_private_data(track_id, payload)
        if record is None or self._records.get(track_id) == record:
            return
        self._records[track_id] = record
        generator = self._core.generator
        generator.set_codec_private_data(track_id, record, adapted=True)
        if generator.started:
            generator.reset()

    def _check_order(self, dts: int) -> None:
        """Refuse a key frame that goes back in time before the generator begins a cluster."""
        core = self._core
        newest = core.view.newest
        if newest is not None and dts // core.info.timecode_scale * core.info.timecode_scale < (
            newest.timestamp
        ):
            raise kvs_error(
                _S.CONTENT_VIEW_INVALID_TIMESTAMP,
                f"dts {dts} is before {newest.timestamp} of the frame put before",
                stream=core.name,
            )

    def _fragment_started(self, item: ViewItem, now: int) -> None:
        core = self._core
        self._after_eofr = False
        core.metadata.written()
        core.rates.sample_put(core.ledger.accepted, item.ack_timestamp, now)
        if item.flags & STREAM_START:
            core.sessions.append((item.index, core.generator.stream_start))
            while len(core.sessions) > 1 and core.sessions[1][0] <= core.view.tail:
                core.sessions.popleft()

    def _check_open(self) -> None:
        """Raise what a stopped, freed or failed stream answers."""
        core = self._core
        if core.stopped or core.closed:
            raise kvs_error(_S.STREAM_HAS_BEEN_STOPPED, "no more frames", stream=core.name)
        if core.failure is not None:
            failure = core.failure
            raise kvs_error(failure.status, failure.detail, stream=core.name)

    def _attend(self, frame: Frame, now: int) -> bool:
        """What is not the rule: closed streams, skipping, sessions that are to begin."""
        core, control = self._core, self._control
        if frame.flags & FLAG_END_OF_FRAGMENT:
            self._put_end_of_fragment(now)
            return False
        if frame.track_id not in self._track_ids:
            raise kvs_error(
                _S.MKV_TRACK_INFO_NOT_FOUND, f"track id {frame.track_id}", stream=core.name
            )
        self._check_open()
        control.unpark(now)
        if now >= control.rotate_at:
            control.rotate(now)
        if now >= control.reset_at:
            control.session_due()
            core.reset_on_key = True
        if self._after_eofr:
            core.skip_until_key = True
        if frame.flags & FLAG_KEY:
            if core.reset_on_key:
                core.reset_on_key = False
                core.generator.reset()
            core.skip_until_key = False
            self._after_eofr = False
        elif core.skip_until_key:
            core.ledger.skipped += 1
            core.emit(FrameSkipped(core.name, frame.dts, frame.dts, 1))
            return False
        core.attention = core.reset_on_key
        return True

    def _put_end_of_fragment(self, now: int) -> None:
        """Close the fragment being written with a tag of its own."""
        core, view = self._core, self._core.view
        self._check_open()
        if self._after_eofr:
            core.refuse_until_key()
            raise kvs_error(_S.MULTIPLE_CONSECUTIVE_EOFR, "the fragment is closed already")
        if not core.info.key_frame_fragmentation:
            raise kvs_error(
                _S.END_OF_FRAGMENT_FRAME_INVALID_STATE, "fragments of this stream are cut by time"
            )
        self._control.unpark(now)
        newest = view.newest
        if newest is None:
            raise kvs_error(_S.CONTENT_VIEW_NO_MORE_ITEMS, "there is no fragment to close")
        data = core.metadata.pending(only_new=True) + end_of_fragment_tag()
        charge = len(data) + limits.ITEM_OVERHEAD_BYTES
        self._admission.admit(len(data), charge, now)
        view.append(
            ViewItem(
                newest.timestamp + newest.duration,
                newest.ack_timestamp + newest.duration,
                0,
                END_OF_FRAGMENT,
                data,
                0,
                (),
                len(data),
                charge,
            )
        )
        core.metadata.written()
        self._after_eofr = core.attention = True
        self._last_put = None
        core.wake()

    def put_fragment_metadata(self, name: str, value: str, persistent: bool, now: int) -> None:
        """Queue a name and value for the next fragment; `persistent`: for every fragment.

        An empty value clears a persistent one. Raises STREAM_HAS_BEEN_STOPPED,
        INVALID_METADATA_NAME, MKV_INVALID_TAG_NAME_LENGTH, MKV_INVALID_TAG_VALUE_LENGTH,
        MAX_FRAGMENT_METADATA_COUNT.
        """
        del now  # of the same shape as the other calls
        self._check_open()
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
        self._check_open()
        if not self._core.generator.started:
            raise kvs_error(_S.STREAM_NOT_STARTED, "put a frame first", stream=self.name)
        self._core.metadata.put_event(types, image_prefix, pairs)

    # --- the end and the beginning --------------------------------------------------------------
    def stop(self, now: int) -> None:
        """Take no more frames; what is held is still sent. `StreamClosed` follows. Idempotent."""
        core = self._core
        if core.stopped or core.closed:
            return
        if self._order is not None:
            self._drain(now, flush=True)
        core.stopped = core.attention = True
        core.wake_writers()
        if (
            core.failure is not None
            or self._control.state is StreamState.STOPPED
            or not (anything_to_send(core) or core.uploads.active())
        ):
            self._control.close(None)
        elif core.uploads.active():
            core.wake()
        else:
            self._control.unpark(now)

    def reset(self, now: int) -> None:
        """Throw away everything held (reported as dropped) and begin anew; revives a failed one."""
        core = self._core
        core.emit(StreamShutdown(core.name, reset=True))
        self._empty(DropReason.RESET)
        core.failure = None
        core.reset_on_key = core.skip_until_key = core.attention = True
        self._after_eofr = False
        self._control.reset(now)
        core.wake_writers()

    def free(self, now: int) -> None:
        """Throw the stream away: uploads are aborted, what is held counts as dropped."""
        del now
        core = self._core
        if core.freed:
            return
        core.emit(StreamShutdown(core.name, reset=False))
        self._empty(DropReason.FREED)
        core.freed = core.stopped = core.attention = True
        self._control.close(None)

    def _empty(self, reason: DropReason) -> None:
        core = self._core
        core.abort_uploads()
        for upload in list(core.uploads):
            core.uploads.remove(upload)
        self._parsers.clear()
        self._sender.abandon()
        if self._order is not None:
            for frame in self._order.clear():
                core.ledger.drop(frame.dts, frame.dts, 1, reason)
        core.ledger.abandon(core.view, reason)
        core.view.current = core.view.head
        core.view.unsent_bytes = 0
        core.trim(core.view.head)
        core.metadata.clear()
        core.loss_result = None

    def reset_connection(self, now: int) -> None:
        """Give the connections up and go on with new ones; what was not acknowledged is re-sent."""
        self._lose_all(200)
        self._control.lost(200, now)

    def _lose_all(self, result: int) -> None:
        core = self._core
        if any(upload.used for upload in core.uploads.active()):
            core.loss_result = result
        core.abort_uploads()
        core.ledger.lose_doubts()

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

    def receive_ack(self, upload: int, data: bytes, now: int) -> None:
        """Take bytes of an upload's response. Acks act as they complete; bad ones are events."""
        parser = self._parsers.get(upload)
        if parser is None:
            parser = self._parsers[upload] = AckParser()
        for ack in parser.receive_data(data):
            if isinstance(ack, FragmentAck):
                self._acks.apply(upload, ack, now)
            else:
                self._acks.reject(upload, ack)

    def receive_parsed_ack(self, upload: int, ack: FragmentAck, now: int) -> None:
        """Take an ack that somebody else has parsed."""
        self._acks.apply(upload, ack, now)

    def upload_ended(self, upload: int, result: int, now: int, detail: str = "") -> None:
        """The connection of an upload is gone; `result` says why (200: complete exchange).

        What it carried and was not acknowledged is sent again by another upload. Harmless for
        uploads that are over.
        """
        core = self._core
        self._parsers.pop(upload, None)
        ended = core.uploads.find(upload)
        if ended is None:
            return
        core.uploads.remove(ended)
        if not ended.active:
            return
        if ended.used:
            if core.uploads.active():
                # Another session has taken over, but only the view knows what this one lost.
                self._lose_all(result)
            core.loss_result = result
            core.ledger.lose_doubts()
        self._control.lost(result, now, detail)

    # --- time -----------------------------------------------------------------------------------
    def check_idle(self, now: int) -> None:
        """End the open fragment of a stream that got no frame for long (intermittent producer)."""
        last = self._last_put
        if (
            not self._ends_idle_fragments
            or last is None
            or now - last < limits.MAX_IDLE_TIME
            or self._core.stopped
            or self._core.failure is not None
            or not self._core.info.key_frame_fragmentation
        ):
            return
        self._last_put = None
        with suppress(KvsError, WouldBlock):  # nobody waits for it: the fragment stays open
            self.put_frame(Frame.end_of_fragment(), now)
