"""Room for a frame: the store's budget, the view's window, and what is dropped for a new frame.

Facts: AWS's space check with its reserve, the policies for a full store and a full view, the
pressure thresholds. Unlike AWS's client it never trims past the newest frame: a frame that cannot
fit, ever, is refused at once, with nothing dropped for it. The item on the wire is never dropped.
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
    """Not now: an offline stream has no space. Try again after `SpaceAvailable`.

    A frame that begins a fragment has ended the open one, if that alone is held: it can be stored.

    `deadline` (ticks, as `now`) is when waiting becomes an OPERATION_TIMED_OUT.
    """

    def __init__(self, deadline: int) -> None:
        super().__init__("the stream has no space before something is persisted")
        self.deadline = deadline


class Pressed(Outbox, Protocol):
    """What admission needs of its stream."""

    name: str
    counters: StreamCounters

    def emit(self, event: Event) -> None:
        """Queue an event."""

    def trouble(self, sign: StreamLatencyPressure) -> None:
        """Report that the connection does badly, and have the shell look at it."""

    def want_space(self) -> None:
        """Note that an offline writer waits for space."""

    def refuse_until_key(self) -> None:
        """Skip frames until a key frame."""


class Admission:
    """Decides on one stream's frames. `waits` ticks is how long an offline writer waits."""

    __slots__ = (
        "_buffer",
        "_by_fragment",
        "_drops",
        "_offline",
        "_outbox",
        "_pressure_bytes",
        "_pressure_ticks",
        "_reserve",
        "_waits",
        "bytes",
        "final",
        "largest",
        "ticks",
    )

    def __init__(self, buffer: Buffer, info: StreamInfo, outbox: Pressed, waits: int) -> None:
        self._buffer = buffer
        self._outbox = outbox
        self._waits = waits
        self._offline = buffer.offline
        self._drops = info.store_pressure_policy is StorePressurePolicy.DROP_TAIL_ITEM
        self._by_fragment = (
            info.view_overflow_policy is ViewOverflowPolicy.DROP_UNTIL_FRAGMENT_START
        )
        self._reserve = limits.SPACE_RESERVE_BYTES
        # Above these a pressure is reported, before the new frame counts.
        size = buffer.store.size_bytes
        # Whole percents are left: 5 % and a bit is 5 %.
        self._pressure_bytes = size + 1 + -size * (limits.STORAGE_PRESSURE_PERCENT + 1) // 100
        duration = ticks(info.buffer_duration)
        left = duration * (limits.BUFFER_PRESSURE_PERCENT + 1) // 100
        self._pressure_ticks = duration - left if info.retention else None
        self.final = False  # the stream stops: a frame that was accepted before cannot wait
        # A frame within these needs no decision; `bytes` is 0 for a store that holds payloads.
        self.largest = 0
        self.bytes = 0
        self.ticks = duration - 1
        if self._pressure_ticks is not None and not buffer.offline:
            self.ticks = self._pressure_ticks

    def crowded(self, length: int, charge: int) -> bool:
        """Whether an item of `length` bytes has room only if something else is dropped."""
        buffer = self._buffer
        reserve = limits.SPACE_RESERVE_BYTES + int(limits.SPACE_RESERVE_FRAME_FACTOR * length)
        needed = charge + max(reserve, self._reserve)
        return buffer.view.full or buffer.store.used_bytes + needed > buffer.store.size_bytes

    def charge(self, length: int, charge: int) -> bool:
        """Charge the store for an item of `length` bytes if it has room without any decision."""
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
        """Charge the store for an item of `length` bytes, making room as the policies say.

        `begins`: it begins a fragment, and so does not need the open one to stay open. Returns what
        stands for its payload of `size` bytes. Raises `WouldBlock` or STORE_OUT_OF_MEMORY with
        nothing stored, and what a store raises that holds payloads.
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
            payload = self._keep(buffer.holding, payload, size, charge, now, begins=begins)
        if not self._offline and store.used_bytes >= self._pressure_bytes:
            self._storage_pressure()
        return payload

    def _fit_view(self, now: int) -> None:
        """Make room in the view's window, or wait for it."""
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

    def _keep(
        self,
        holding: HoldingStore,
        payload: Payload,
        size: int,
        charge: int,
        now: int,
        *,
        begins: bool,
    ) -> Payload:
        """Have the store hold a payload that was charged; what stands for it.

        What is free may be in pieces, or on a disk that is full: then room is made as the policies
        say. When that fails, the charge is given back.
        """
        buffer, before = self._buffer, holding.failure
        try:
            while (kept := self._try_keep(holding, payload, size)) is None:
                failure = holding.failure or self._no_memory(charge)
                if not (holding.fits(size) and self._helps(holding)):
                    raise failure
                if self._offline and len(buffer.view):
                    self._block(now, charge, begins=begins)
                if self._offline or not self._drops or not self._evict():
                    raise failure
        except (KvsError, WouldBlock, TypeError):  # TypeError: the payload is not bytes
            buffer.store.release(charge)
            raise
        if before is None and holding.failure is not None:  # once, not for each frame
            self._outbox.report(holding.failure.status, holding.failure.detail)
        return kept

    def _helps(self, holding: HoldingStore) -> bool:
        """Whether giving up what this stream holds makes room where the store still works."""
        items = self._buffer.view.items.values()
        return holding.failure is None or any(holding.frees_space(item.payload) for item in items)

    @staticmethod
    def _try_keep(holding: HoldingStore, payload: Payload, size: int) -> Payload | None:
        """Have the store keep a payload; None when it has no room, or its disk is full."""
        try:
            return holding.keep(payload, size)
        except KvsError as error:
            if error is not holding.failure:
                raise
            return None

    def check_queued(self, length: int, now: int) -> None:
        """Offline, refuse to queue what could not be stored; the order coordinator comes later."""
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
        """The store lacks space: wait, refuse, or drop the oldest."""
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
        if not self._drops:
            raise self._no_memory(charge)
        # What the items charge is at least their bytes, whose sum is known.
        if (
            store.used_bytes - view.size_bytes + charge > store.size_bytes
            and store.used_bytes - self._droppable() + charge > store.size_bytes
        ):
            raise self._no_memory(charge)  # other streams have it: dropping ours would not help
        while store.used_bytes + charge + self._reserve > store.size_bytes and self._evict():
            pass

    def check_memory(self, size: int) -> None:
        """Raise STORE_OUT_OF_MEMORY for a payload of `size` bytes that `admit` would refuse so."""
        store = self._buffer.store
        charge = size + self._buffer.item_overhead
        makes_room = self._offline or self._drops
        used = 0 if makes_room else store.used_bytes + self._reserve
        if used + charge > store.size_bytes:
            raise self._no_memory(charge)

    def worth_waiting(self) -> bool:
        """Whether acks may make room: nothing is said about a fragment before it is whole."""
        view = self._buffer.view
        newest = view.newest
        if self.final or newest is None or view.head == view.tail:
            return False
        open_fragment = not newest.flags & END_OF_FRAGMENT
        return not (open_fragment and view[view.tail].fragment == newest.fragment)

    def _droppable(self) -> int:
        """How many charged bytes of this stream could be given up."""
        view, wire = self._buffer.view, self._buffer.on_wire
        items = (view[index] for index in range(view.tail, view.head))
        return sum(item.charge for item in items if item is not wire)

    def _evict(self) -> bool:
        """Drop one item, or up to the next fragment start; False when nothing may go."""
        buffer = self._buffer
        view = buffer.view
        if not buffer.evict():
            return False
        while self._by_fragment and len(view) and not view[view.tail].flags & FRAGMENT_START:
            buffer.evict()
        return True

    def _block(self, now: int, charge: int = 0, *, begins: bool = False) -> None:
        """Have the writer wait, unless the open fragment can never take `charge` bytes more."""
        if self.final:
            return
        if charge and not begins:
            self._check_fragment(charge)
        self._outbox.want_space()
        raise WouldBlock(now + self._waits)

    def _check_fragment(self, charge: int) -> None:
        """Refuse a frame whose fragment does not fit into the store, and the rest of the fragment.

        The service acknowledges whole fragments: no ack makes room before the fragment has ended.
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
        """Tell when more than `maximum` ticks of media wait to be sent."""
        buffer = self._buffer
        waiting = buffer.view.unsent_duration
        if waiting > maximum:
            self._outbox.counters.latency_pressures += 1
            self._outbox.trouble(StreamLatencyPressure(self._outbox.name, waiting))
