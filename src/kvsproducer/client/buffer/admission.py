"""Finds space for a frame in the store and in the view, and decides what is dropped for it.

Source: AWS's space check with its reserve, the policies for a full store and a full view, and the
pressure thresholds. Unlike AWS's client, it never trims past the newest frame. A frame that can
never fit is refused at once, and nothing is dropped for it. An item that is being handed out may
leave the view, but its bytes stay charged to the store until it is handed out completely.
"""

from __future__ import annotations

from typing import Protocol

from kvsproducer import limits
from kvsproducer.client.buffer.buffer import Buffer, Outbox
from kvsproducer.client.buffer.view import END_OF_FRAGMENT, FRAGMENT_START
from kvsproducer.client.events import (
    BufferDurationPressure,
    Event,
    StoragePressure,
    StreamLatencyPressure,
)
from kvsproducer.client.metrics import StreamCounters
from kvsproducer.client.stream_info import (
    StorePressurePolicy,
    StreamInfo,
    ViewOverflowPolicy,
)
from kvsproducer.duration import ticks
from kvsproducer.heap import HoldingStore, Payload
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["Admission", "WouldBlock"]


class WouldBlock(Exception):
    """An offline stream has no space now. Try again after `SpaceAvailable`.

    If the stream held only the open fragment, and the refused frame begins a new one, the open
    fragment was ended. The service can then store it, which frees space.

    The wait fails with OPERATION_TIMED_OUT at `deadline` (ticks, on the clock of the argument
    `now`).
    """

    def __init__(self, deadline: int) -> None:
        super().__init__("the stream has no space before something is persisted")
        self.deadline = deadline


class AdmissionOutbox(Outbox, Protocol):
    """The attributes and methods of a stream that `Admission` uses."""

    name: str
    counters: StreamCounters

    def emit(self, event: Event) -> None:
        """Queue an event."""

    def report_trouble(self, sign: StreamLatencyPressure) -> None:
        """Report a connection problem, and ask the caller to check the connection."""

    def note_waiting_writer(self) -> None:
        """Note that an offline writer waits for space."""

    def refuse_until_key(self) -> None:
        """Skip frames until a key frame."""


class Admission:
    """Admits the frames of one stream.

    The writer of an offline stream waits at most `waits` ticks for space.
    """

    __slots__ = (
        "_buffer",
        "_by_fragment",
        "_drops_oldest",
        "_offline",
        "_outbox",
        "_pressure_bytes",
        "_pressure_ticks",
        "_reserve",
        "_wait_limit",
        "bytes",
        "final",
        "largest",
        "ticks",
    )

    def __init__(
        self, buffer: Buffer, info: StreamInfo, outbox: AdmissionOutbox, waits: int
    ) -> None:
        self._buffer = buffer
        self._outbox = outbox
        self._wait_limit = waits
        self._offline = buffer.offline
        self._drops_oldest = info.store_pressure_policy is StorePressurePolicy.DROP_TAIL_ITEM
        self._by_fragment = (
            info.view_overflow_policy is ViewOverflowPolicy.DROP_UNTIL_FRAGMENT_START
        )
        self._reserve = limits.SPACE_RESERVE_BYTES
        # When more than this is used, a pressure is reported. The new frame does not count yet.
        size = buffer.store.size_bytes
        # Compared in whole percents, rounded down.
        self._pressure_bytes = size + 1 + -size * (limits.STORAGE_PRESSURE_PERCENT + 1) // 100
        duration = ticks(info.buffer_duration)
        left = duration * (limits.BUFFER_PRESSURE_PERCENT + 1) // 100
        self._pressure_ticks = duration - left if info.retention else None
        self.final = False  # the stream stops: frames that were accepted before cannot wait
        # Limits of the fast path: `charge` accepts an item within them without any decision.
        # `bytes` is 0 for a store that holds payloads.
        self.largest = 0
        self.bytes = 0
        self.ticks = duration - 1
        if self._pressure_ticks is not None and not buffer.offline:
            self.ticks = self._pressure_ticks

    def needs_eviction(self, length: int, charge: int) -> bool:
        """Return whether an item of `length` bytes fits only if something else is dropped."""
        buffer = self._buffer
        reserve = limits.SPACE_RESERVE_BYTES + int(limits.SPACE_RESERVE_FRAME_FACTOR * length)
        needed = charge + max(reserve, self._reserve)
        return buffer.view.full or buffer.store.used_bytes + needed > buffer.store.size_bytes

    def charge(self, length: int, charge: int) -> bool:
        """Charge the store for an item of `length` bytes on the fast path; return True if it fits.

        If the item exceeds a limit of the fast path, nothing is charged, and the caller uses
        `admit`.
        """
        view, store = self._buffer.view, self._buffer.store
        return (
            length <= self.largest
            and store.used_bytes + charge <= self.bytes
            and view.end_time - view.start_time <= self.ticks
            and view.head - view.tail < view.capacity
            and bool(store.charge(charge))
        )

    def admit(
        self,
        length: int,
        charge: int,
        now: int,
        payload: Payload = (),
        size: int = 0,
        *,
        begins: bool = False,
    ) -> Payload:
        """Charge the store for an item of `length` bytes, making space as the policies say.

        `begins` means that the item begins a fragment, so that the open fragment may end. Return
        the payload to keep in place of the given one of `size` bytes. Raises `WouldBlock`,
        STORE_OUT_OF_MEMORY, or the error of a store that holds payloads. If it raises, nothing is
        stored.
        """
        buffer = self._buffer
        store = buffer.store
        if charge > store.size_bytes:  # before it counts as the largest frame
            raise self._no_memory(charge)
        if length > self.largest:
            self.largest = length
            self._reserve = limits.SPACE_RESERVE_BYTES + int(
                limits.SPACE_RESERVE_FRAME_FACTOR * length
            )
            if buffer.holding is None:
                self.bytes = min(store.size_bytes - self._reserve, self._pressure_bytes - 1)
        if store.used_bytes + charge + self._reserve > store.size_bytes:
            self._make_room(charge, now, begins=begins)
        self._fit_view(now)
        before = store.used_bytes
        if not store.charge(charge):
            raise self._no_memory(charge)
        booked = store.used_bytes - before
        if booked < charge:
            store.release(booked)
            raise kvs_error(
                StatusCode.ALLOCATION_SIZE_SMALLER_THAN_REQUESTED,
                f"the store booked {booked} of {charge} bytes",
                stream=self._outbox.name,
            )
        if buffer.holding is not None:
            payload = self._hold(buffer.holding, payload, size, charge, now, begins=begins)
        if not self._offline and store.used_bytes >= self._pressure_bytes:
            self._storage_pressure()
        return payload

    def _fit_view(self, now: int) -> None:
        """Make space in the view's window as the policies say, or raise `WouldBlock`."""
        view = self._buffer.view
        if self._offline:
            if view.full:
                self._buffer.trim_settled()
            if view.full and self.worth_waiting():
                self._block(now)
            return
        window = view.window_duration
        if self._pressure_ticks is not None and self._pressure_ticks < window <= view.duration:
            self._duration_pressure(window)
        if window >= view.duration or view.head - view.tail >= view.capacity:
            while len(view) and view.full and self._evict():
                pass

    def _hold(
        self,
        holding: HoldingStore,
        payload: Payload,
        size: int,
        charge: int,
        now: int,
        *,
        begins: bool,
    ) -> Payload:
        """Copy a payload into a store that holds payloads; return the copy that replaces it.

        The bytes were charged before. The store may still refuse the payload, because its free
        space is fragmented or its disk is full. Then space is made as the policies say. If that
        fails, the charge is released and the error raised.
        """
        buffer, before = self._buffer, holding.failure
        try:
            while (kept := self._try_hold(holding, payload, size)) is None:
                failure = holding.failure or self._no_memory(charge)
                if not (holding.fits(size) and self._dropping_helps(holding)):
                    raise failure
                if self._offline and len(buffer.view):
                    self._block(now, charge, begins=begins)
                if self._offline or not self._drops_oldest or not self._evict():
                    raise failure
        except (KvsError, WouldBlock, TypeError):  # TypeError: the payload is not bytes
            buffer.store.release(charge)
            raise
        if before is None and holding.failure is not None:  # once, not for each frame
            self._outbox.report(holding.failure.status, holding.failure.detail)
        return kept

    def _dropping_helps(self, holding: HoldingStore) -> bool:
        """Return whether dropping items frees space in a part of the store that works."""
        items = self._buffer.view.items.values()
        return holding.failure is None or any(holding.frees_space(item.payload) for item in items)

    @staticmethod
    def _try_hold(holding: HoldingStore, payload: Payload, size: int) -> Payload | None:
        """Copy a payload into the store; return None if it has no space, or its disk is full."""
        try:
            return holding.keep(payload, size)
        except KvsError as error:
            if error is not holding.failure:
                raise
            return None

    def check_queued(self, length: int, now: int) -> None:
        """Raise if an offline stream could not store a frame that is about to be queued."""
        store = self._buffer.store
        if not self._offline:
            return
        if self._buffer.view.full or store.used_bytes + length + self._reserve > store.size_bytes:
            self._buffer.trim_settled()
        if self.worth_waiting() and (
            self._buffer.view.full or store.used_bytes + length + self._reserve > store.size_bytes
        ):
            self._block(now)

    def _make_room(self, charge: int, now: int, *, begins: bool) -> None:
        """Make space in a full store: wait, refuse, or drop the oldest items."""
        buffer = self._buffer
        store, view = buffer.store, buffer.view
        if self._offline:
            buffer.trim_settled()
            if store.used_bytes + charge > store.size_bytes or (
                store.used_bytes + charge + self._reserve > store.size_bytes
                and self.worth_waiting()
            ):
                self._block(now, charge, begins=begins)
            return
        if not self._drops_oldest:
            raise self._no_memory(charge)
        # Each item is charged at least for its bytes, whose sum is known.
        if (
            store.used_bytes - view.size_bytes + charge > store.size_bytes
            and store.used_bytes - self._droppable_bytes() + charge > store.size_bytes
        ):
            # other streams use the space: dropping our items would not help
            raise self._no_memory(charge)
        while store.used_bytes + charge + self._reserve > store.size_bytes and self._evict():
            pass

    def check_memory(self, size: int) -> None:
        """Raise STORE_OUT_OF_MEMORY if `admit` would do so for a payload of `size` bytes."""
        store = self._buffer.store
        charge = size + self._buffer.item_overhead
        makes_room = self._offline or self._drops_oldest
        used = 0 if makes_room else store.used_bytes + self._reserve
        if used + charge > store.size_bytes:
            raise self._no_memory(charge)

    def worth_waiting(self) -> bool:
        """Return whether future acks may free space.

        They cannot if the view contains only a fragment that has not ended, or if the stream stops.
        """
        view = self._buffer.view
        newest = view.newest
        if self.final or newest is None or view.head == view.tail:
            return False
        open_fragment = not newest.flags & END_OF_FRAGMENT
        return not (open_fragment and view[view.tail].fragment == newest.fragment)

    def _droppable_bytes(self) -> int:
        """Return how many charged bytes of this stream could be released."""
        view, wire = self._buffer.view, self._buffer.on_wire
        items = (view[index] for index in range(view.tail, view.head))
        return sum(item.charge for item in items if item is not wire)

    def _evict(self) -> bool:
        """Remove the oldest item; return False if there is none.

        If the policy drops whole fragments, also remove the items up to the next fragment start.
        """
        buffer = self._buffer
        view = buffer.view
        if not buffer.evict():
            return False
        while self._by_fragment and len(view) and not view[view.tail].flags & FRAGMENT_START:
            buffer.evict()
        return True

    def _block(self, now: int, charge: int = 0, *, begins: bool = False) -> None:
        """Raise `WouldBlock`, or STORE_OUT_OF_MEMORY if waiting cannot help.

        Waiting cannot help if the open fragment with `charge` more bytes is larger than the store.
        Nothing is raised for a stream that stops.
        """
        if self.final:
            return
        if charge and not begins:
            self._check_fragment(charge)
        self._outbox.note_waiting_writer()
        raise WouldBlock(now + self._wait_limit)

    def _check_fragment(self, charge: int) -> None:
        """Raise STORE_OUT_OF_MEMORY if the store cannot take the open fragment and `charge` bytes.

        Frames are then skipped up to the next key frame. The service acknowledges whole fragments,
        so no ack frees space before the fragment has ended.
        """
        buffer, view = self._buffer, self._buffer.view
        newest, size = view.newest, self._buffer.store.size_bytes
        if newest is None or buffer.closed_newest:
            return
        first = max(newest.fragment, view.tail)
        held = sum(view[index].charge for index in range(first, view.head))
        if held + charge <= size:
            return
        self._outbox.refuse_until_key()
        raise kvs_error(
            StatusCode.STORE_OUT_OF_MEMORY,
            f"the fragment does not fit into the store of {size} bytes: {view.head - first} frames"
            f" of it take {held} bytes, and the next frame takes {charge}; no space becomes free"
            " before the fragment has ended. Give a larger storage_size, or more frequent key"
            " frames. Frames are skipped up to the next key frame",
            stream=self._outbox.name,
        )

    def _no_memory(self, charge: int) -> Exception:
        store = self._buffer.store
        return kvs_error(
            StatusCode.STORE_OUT_OF_MEMORY,
            f"a frame takes {charge} bytes of the store; {store.used_bytes} of "
            f"{store.size_bytes} are in use",
            stream=self._outbox.name,
        )

    # --- pressure -------------------------------------------------------------------------------
    def _storage_pressure(self) -> None:
        buffer = self._buffer
        self._outbox.counters.storage_pressures += 1
        remaining = buffer.store.size_bytes - buffer.store.used_bytes
        self._outbox.emit(StoragePressure(self._outbox.name, remaining))

    def _duration_pressure(self, window: int) -> None:
        self._outbox.counters.buffer_pressures += 1
        left = self._buffer.view.duration - window
        self._outbox.emit(BufferDurationPressure(self._outbox.name, left))

    def check_latency(self, maximum: int) -> None:
        """Report a latency pressure if more than `maximum` ticks of media have not been sent."""
        buffer = self._buffer
        waiting = buffer.view.unsent_duration
        if waiting > maximum:
            self._outbox.counters.latency_pressures += 1
            self._outbox.report_trouble(StreamLatencyPressure(self._outbox.name, waiting))
