"""Derive the right results of a stream case from its input, independent of AWS's client.

`Right` is a model of the promise. It records the accepted frames, the media of each upload (parsed
from its bytes), the acks of the service, and the drops that were reported. After each step it
checks that our core keeps these rules:

- frames are skipped only until the next key frame;
- an upload begins with a stream header and at the right fragment: after a lost upload, the oldest
  fragment that is not known to be stored and is within the replay duration;
- an upload carries all frames in order, unchanged and at their times;
- a frame counts as stored once an upload that carried it was acknowledged, and not before;
- each dropped frame was reported, and no other frame was reported as dropped;
- while there is media to send, there is an upload, or the stream has reported its failure;
- the metrics equal the observed figures.

`finish` goes on after the last step with a service that accepts everything, until there is nothing
left to send. Then each accepted frame must be stored, reported as dropped, or held by a stream that
has failed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import oracle
from common import input_bytes
from stream_world import MS, NEVER, SECOND, Record, World

from kvsproducer.client import StreamingType
from kvsproducer.client import events as ev
from kvsproducer.client.buffer.view import FRAGMENT_START
from kvsproducer.client.states import host_is_alive
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv.events import Block, ClusterStart, EbmlHeader, Tags
from kvsproducer.status import KvsError, StatusCode
from kvsproducer.wire import TAG_END_OF_FRAGMENT, ack_error

_TIE = 3  # timecode units by which the order coordinator may move a frame
_KINDS = {1: "BUFFERING", 2: "RECEIVED", 3: "PERSISTED", 4: "ERROR"}
_NO_MORE_DATA = f"0x{StatusCode.NO_MORE_DATA_AVAILABLE:08x}"
_ROUNDS = 200
_PACKAGING = 0x32  # the statuses of the packager; mkv.jsonl tests them
Json = Mapping[str, Any]


@dataclass(eq=False)
class Item:
    """A frame that was accepted, or an end-of-fragment mark."""

    payload: bytes
    pts: int
    dts: int
    end: int  # pts + duration
    start: bool = False  # it begins a fragment
    key: bool = False
    mark: bool = False
    dropped: bool = False  # reported as dropped
    refused: bool = False  # the service refused it, or its cluster was dropped: never send it again
    received: bool = False  # on the last upload that carried it
    stored: bool = False  # an upload that carried it was acknowledged
    maybe: bool = False  # perhaps stored: older uploads are not finished, or the ack is odd


@dataclass
class Fragment:
    """A cluster of an upload, and the items that the upload has read completely."""

    timecode: int
    items: list[Item] = field(default_factory=list)
    closed: bool = False
    final: bool = False  # the service has acknowledged it as stored
    acked: bool = False  # `finish` has sent its acks


@dataclass
class Upload:
    """The media that was read for one upload."""

    first: int  # its first item
    last: int  # the first item of its last fragment
    next: int  # the next item that it must read
    base: int  # relative times count from here
    parser: MkvParser = field(default_factory=MkvParser)
    header: bool = False
    early: bool = False  # an ack has named the fragment of which only the header was read
    fragments: list[Fragment] = field(default_factory=list)


class Right:
    """The model for one case. `check` returns what is wrong after a step, or None."""

    def __init__(self, world: World) -> None:
        self._lost = False  # time has jumped: the model ends there
        config = world.config
        self._world = world
        self._scale = config["timecode_scale"] or MS
        self._timed = bool(config.get("frame_timecodes", 1))
        self._absolute = bool(config.get("absolute_fragment_times", 1))
        self._ordered = bool(config.get("frame_order_mode"))  # tracks are ordered by time
        self._by_key = bool(config.get("key_frame_fragmentation", 1))
        self._acks = bool(config.get("fragment_acks", 1))
        self._adapt = config.get("adapt_flags", 0)
        self._stream: object = None
        self.begin()

    def begin(self) -> None:
        """Reset the model for a new stream."""
        self.items: list[Item] = []
        self.uploads: dict[int, Upload] = {}
        self._current = 0  # index after the last item that was read completely
        self._received = 0  # index after the last item that the service has received
        self._loss: int | None = None  # result of a lost upload, until the next session begins
        self._units = list(dict.fromkeys((MS, self._scale)))  # of the timecodes in acks
        self._awaits_key = True
        self._ended_session = False  # the end of the newest session was read, too
        self._active: set[int] = set()  # uploads that were active before the step
        self._was_tail = 0  # the tail before the step
        self._read_bytes = 0
        self._seen: Counter[str] = Counter()  # events by name

    # --- the input ------------------------------------------------------------------------------
    def check(self, step: Json, got: Record) -> str | None:
        """Record a step and its result; return what is wrong, or None."""
        world = self._world
        if world.stream is None or self._lost:
            return None
        if world.stream is not self._stream:
            self._stream = world.stream
            self.begin()
        problem = self._puts(step, got) or self._drops()
        return None if self._lost else self._after(step, got, problem)

    def _after(self, step: Json, got: Record, problem: str | None) -> str | None:
        """Check the bytes and the acks of a step, and their consequences."""
        try:
            if got.get("bytes") and problem is None:
                problem = self._read(got["bytes"])
        except KvsError as error:
            return f"the upload is not valid Matroska: {error}"
        if step["op"].startswith("ack"):
            for kind, timecode, result in named_acks(step):
                self._ack(kind, timecode, result)
        elif step["op"] == "connection_ended":
            self._ended(step["result"])
        elif step["op"] == "reset_connection":
            self._lost_all(200)
        elif step["op"] in ("reset_stream", "free_stream"):
            self._emptied()
        return (
            problem
            or self._given(step, got)
            or self._books()
            or self._figures(step, got)
            or self._uploading()
        )

    def _puts(self, step: Json, got: Record) -> str | None:
        """Record accepted frames; return a problem if one was skipped or refused without reason."""
        world, op, refused = self._world, step["op"], int(got["status"], 16)
        skipped = any(isinstance(event, ev.FrameSkipped) for event in world.raw)
        problem = None
        if skipped and not (self._awaits_key or self._ordered):
            problem = "a frame was skipped although its fragment is open"
        elif op == "put_frame" and not (world.accepted or skipped):
            problem = self._why_refused(step, refused)
        for put in world.accepted:
            self._accept(put)
        world.accepted.clear()
        for event in world.raw:
            # Waiting frames, and sessions that begin at another time, are not modelled.
            self._lost |= isinstance(event, ev.TimestampCorrected | ev.TimeJumped)
        self._lost |= bool(world.stream and len(world.stream._intake.timeline))
        if op == "put_end_of_fragment" or (op == "put_frame" and refused and "K" in step["flags"]):
            self._awaits_key = True
        self._awaits_key |= refused == StatusCode.MKV_LARGE_FRAME_TIMECODE  # the fragment is full
        return problem

    def _why_refused(self, step: Json, status: int) -> str | None:
        """Return what is wrong with refusing a frame with this status, or None."""
        stream = self._world.stream
        assert stream is not None, "check() has checked"
        right = {StatusCode.STORE_OUT_OF_MEMORY.value}
        if stream.stopped or stream.closed:
            right = {StatusCode.STREAM_HAS_BEEN_STOPPED.value}
        elif stream.failure is not None:
            right = {stream.failure.status.value}
        elif stream.info.streaming_type is StreamingType.OFFLINE:
            right.add(StatusCode.OPERATION_TIMED_OUT.value)
        newest = max((item.dts for item in self.items), default=0)
        if step.get("dts", step["pts"]) < newest + self._scale:
            right.add(StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP.value)
        if status in right or status >> 24 == _PACKAGING:
            return None
        return f"a frame was refused: {status:#010x}"

    def _accept(self, put: Json) -> None:
        assert self._world.stream is not None, "check() has checked"
        packed = self._world.stream._core.buffer.view.items.get(len(self.items))
        if put["op"] == "put_end_of_fragment":
            time = self.items[-1].end if self.items else 0
            self.items.append(Item(b"", time, -1, time, mark=True))
            return
        key, pts, dts = "K" in put["flags"], put["pts"], put.get("dts", put["pts"])
        if packed is not None and not self._timed:  # the clock gives the time
            pts, dts = packed.ack_timestamp, packed.timestamp
        elif packed is not None and 0 < packed.ack_timestamp - pts <= self._scale:
            pts = packed.ack_timestamp  # a fragment starts after all frames of the one before
        pts, dts = pts - pts % self._scale, dts - dts % self._scale
        rate = self._world.config.get("frame_rate", 25) or 25
        lasts = put["duration"] or SECOND // rate
        end = pts + lasts - lasts % self._scale
        item = Item(self._as_sent(input_bytes(put["data"])), pts, dts, end)
        # The packager decides what begins a fragment; `_block` compares it with the clusters sent.
        item.start = key if packed is None else bool(packed.flags & FRAGMENT_START)
        item.key = key
        self.items.append(item)
        if key:
            self._awaits_key = False

    def _as_sent(self, data: bytes) -> bytes:
        if self._adapt & 8:
            try:
                return b"".join(len(u).to_bytes(4) + u for u in oracle.annexb_units(data))
            except oracle.Refused:
                return data
        units = oracle.prefixed_units(data) if self._adapt & 16 else None
        return data if units is None else b"".join(b"\0\0\0\x01" + unit for unit in units)

    # --- the state of the items -----------------------------------------------------------------
    @property
    def _tail(self) -> int:
        assert self._world.stream is not None, "check() has checked"
        return self._world.stream._core.buffer.view.tail

    def _next(self, index: int) -> int:
        """Return the first item from `index` on that may be sent."""
        index = max(index, self._tail)
        while index < len(self.items) and self.items[index].refused:
            index += 1
        return index

    def _start_of(self, index: int) -> int:
        """Return the first item that is held of an item's fragment."""
        while index > self._tail and not self.items[index].start:
            index -= 1
        return index

    def _next_start(self, index: int) -> int:
        while index < len(self.items) and not self.items[index].start:
            index += 1
        return index

    def _resume(self) -> int:
        """Return the first item of the next upload; the number of items if there is none.

        It is the first of a fragment: a fragment cannot be sent without its first frame.
        """
        index = self._resume_at()
        start = self._start_of(index) if index < len(self.items) else index
        while start < len(self.items) and (
            self.items[start].refused or not self.items[start].start
        ):
            start = self._next_start(start + 1)
        return start

    def _resume_at(self) -> int:
        world = self._world
        assert world.stream is not None, "check() has checked"
        if self._loss is None:
            return self._next(self._current)
        index = self._tail
        if world.config.get("streaming_type") != "offline":
            index = self._replay_from(self._loss, world.config.get("replay_duration", 60 * SECOND))
        if index == len(self.items) and self._left_open():
            index -= 1
        if self._acks:
            index = max(index, self._settled())
        return self._next(self._start_of(index) if index < len(self.items) else index)

    def _settled(self) -> int:
        """Return the index after the items that are all stored or reported as dropped."""
        open_items = (i for i, item in enumerate(self.items) if not (item.stored or item.dropped))
        return next(open_items, len(self.items))

    def _replay_from(self, result: int, duration: int) -> int:
        """Return the oldest fragment that is within the replay duration and not known as stored."""
        assert self._world.stream is not None, "check() has checked"
        here, session_of = (
            max(self._current, self._tail),
            self._world.stream._core.buffer.session_number,
        )
        if not duration:
            return here
        reference = self.items[here].pts if here < len(self.items) else None
        start = index = here
        safe: int | None = None  # the service has everything of a session up to here
        while index > self._tail:
            index = self._start_of(index - 1)
            item, end = self.items[index], min(here, self._received)
            whole = self._next_start(index + 1) <= end
            if item.start and whole and self._acks and host_is_alive(result):
                safe = session_of(index) if item.received else safe
            if safe is None or session_of(index) != safe:
                start = index
            if reference is not None and item.pts + duration <= reference:
                break
        return start

    def _left_open(self) -> bool:
        """Return True if the end of the newest fragment was not sent and frames are missing."""
        if self._tail == len(self.items):
            return False
        received = self._received >= len(self.items)
        return not (self._ended_session or received or self.items[-1].mark)

    # --- drops, losses and acks -----------------------------------------------------------------
    def _drops(self) -> str | None:
        """Mark the frames that were reported as dropped; return what is wrong, or None."""
        slack = _TIE * self._scale if self._ordered else 0
        for event in self._world.raw:
            if not isinstance(event, ev.FrameDropped | ev.FragmentDropped):
                continue
            if event.reason is ev.DropReason.OVERFLOW and not self._was_full():
                return f"{event}, although the buffer had space"
            held = [
                item
                for item in self.items
                if event.first - slack <= item.dts <= event.last + slack
                and not (item.mark or item.dropped or item.stored)
            ][: event.count]
            if len(held) < event.count and not self._ordered:
                return f"{event} names {len(held)} frames that are still held"
            for item in held:
                item.dropped = True
                item.refused |= event.reason in (ev.DropReason.REFUSED, ev.DropReason.UNREADABLE)
                self._awaits_key |= item.refused and item is self.items[-1]
        return None

    def _was_full(self) -> bool:
        """Return True if there was no space for another item; the store's size is not modelled."""
        config, held = self._world.config, self.items[self._was_tail :]
        if "storage_size" in config or not held or self._ordered:
            return True
        seconds = config.get("buffer_duration", 120 * SECOND) / SECOND
        times = [item.pts for item in held]
        full = len(held) > (config.get("frame_rate", 25) or 25) * seconds
        return full or max(times) - min(times) + 2 * SECOND >= seconds * SECOND

    def _used(self, number: int) -> bool:
        return number in self.uploads

    def _ended(self, result: int) -> None:
        number = self._world.named_upload
        if number in self._active and self._used(number):
            self._loss = result

    def _lost_all(self, result: int) -> None:
        if any(map(self._used, self._active)):
            self._loss = result

    def _emptied(self) -> None:
        self._current, self._loss, self._awaits_key = len(self.items), None, True

    def _ack(self, kind: str, timecode: int | None, result: int) -> None:
        number = self._world.named_upload
        if number not in self._active:
            return
        if kind == "ERROR":
            self._error(number, timecode, result)
            return
        index = None if timecode is None else self._named(number, timecode)
        final = kind == "PERSISTED" or (
            kind == "RECEIVED" and not self._world.config.get("retention", 1)
        )
        if index is not None and kind != "BUFFERING" and self._carries(number, index):
            self.items[index].received = True
            self._received = max(self._received, min(self._next_start(index + 1), self._current))
        if final and number in self.uploads:
            self.uploads[number].early |= index == self.uploads[number].next
            self._stored(number, timecode, index)

    def _carries(self, number: int, index: int) -> bool:
        """Return True if an upload carries media of an item's fragment."""
        upload, start = self.uploads.get(number), self._start_of(index)
        if upload is None:
            return False
        begun = upload.next == start
        return begun or any(self.items[start] in part.items[:1] for part in upload.fragments)

    def _times(self, number: int, timecode: int) -> Iterator[range]:
        """Yield the times in ticks at which the fragment of an ack may start, the likelier first.

        The service counts in milliseconds, AWS's client in timecode units.
        """
        for unit in self._units:
            first = self._base(number) + timecode * unit
            yield range(first, first + max(1, unit if unit > self._scale else 1))

    def _base(self, number: int) -> int:
        """Return the time in ticks from which the timecodes of an upload count."""
        return self.uploads[number].base if number in self.uploads and not self._absolute else 0

    def _held_start(self, number: int, timecode: int) -> int | None:
        """Return the fragment that is held and starts at the time of an ack, or None."""
        found = {}
        for unit, times in zip(self._units, self._times(number, timecode), strict=True):
            for index in range(self._was_tail, len(self.items)):
                if self.items[index].start and self.items[index].pts in times:
                    found.setdefault(unit, index)
        if len(found) == 1:  # now the unit of this stream's acks is known
            self._units = list(found)
        return next((found[unit] for unit in self._units if unit in found), None)

    def _stored(self, number: int, timecode: int | None, index: int | None) -> None:
        """Mark a fragment as stored, and all fragments that its upload carried before it."""
        upload, base = self.uploads[number], self._base(number)
        older = any(other < number and self._used(other) for other in self._active)
        times = None if timecode is None else list(self._times(number, timecode))
        starts = [base + part.timecode * self._scale for part in upload.fragments]
        exact = [
            part
            for part, time in zip(upload.fragments, starts, strict=True)
            if any(time in span for span in times or ())
        ]
        within = [] if index is None else [self.items[self._start_of(index)]]
        named = next((part for part in exact if not part.final), None) or next(
            (part for part in upload.fragments if not exact and part.items[:1] == within), None
        )
        carried: list[Item] = []
        for part, time in zip(upload.fragments, starts, strict=True):
            carried += (item for item in part.items if not item.refused)
            for item in carried:
                item.maybe |= times is None or any(time < span.stop for span in times)
                item.stored |= part is named and not older
        if named is not None:
            named.final = True

    def _error(self, number: int, timecode: int | None, result: int) -> None:
        """Apply an ERROR ack: the session is lost, and without a retry its fragment is refused."""
        used = self._used(number)
        concerned = used or not any(map(self._used, self._active - {number}))
        if used:
            self._active.clear()
        self._active.discard(number)
        if not concerned:
            return
        index = self._named(number, timecode)
        if index is not None and not ack_error(result).retriable:
            end = self._next_start(index + 1)
            for item in self.items[self._start_of(index) : end]:
                item.refused = True
            if end == len(self.items):
                self._awaits_key = True
        here = self._was_tail if index is None else index
        self._current = min(self._next(here), self._current)
        self._loss = result if self._loss is None else self._loss

    def _named(self, number: int, timecode: int | None) -> int | None:
        """Return the item that an ack names: a fragment's first, or the one playing at the time."""
        if self._was_tail == len(self.items):
            return None
        if timecode is None:
            return min(max(self._current, self._was_tail), len(self.items) - 1)
        index = self._held_start(number, timecode)
        times = (times.start for times in self._times(number, timecode))
        playing = (self._playing(self.uploads.get(number), time) for time in times)
        return next((i for i in playing if i is not None), None) if index is None else index

    def _playing(self, upload: Upload | None, time: int) -> int | None:
        """Return the item of an upload that plays at a time, or None."""
        begin = max(upload.first, self._was_tail) if upload else self._was_tail
        end = min(self._next_start(upload.last + 1) if upload else NEVER, len(self.items))
        if begin >= end or not self.items[begin].pts <= time <= self.items[end - 1].end:
            return None
        best = begin
        for index in range(begin, end):
            item = self.items[index]
            if item.pts <= time and (item.start or self.items[best].pts <= item.pts):
                best = index
            elif item.start:
                break
        return best

    # --- the bytes of uploads -------------------------------------------------------------------
    def _read(self, data: bytes) -> str | None:
        number = self._world.named_upload
        self._read_bytes += len(data)
        if number not in self.uploads:
            self.uploads[number] = self._begin_upload()
        upload = self.uploads[number]
        upload.parser.receive_data(data)
        while (event := upload.parser.next_event()) is not None:
            problem = None
            if isinstance(event, EbmlHeader):
                upload.header = True
            elif not upload.header:
                problem = f"begins with {event.raw[:4].hex()}"
            elif isinstance(event, ClusterStart):
                self._close(upload)
                upload.fragments.append(Fragment(event.timecode, final=upload.early))
                upload.early = False
            elif isinstance(event, Block):
                problem = self._block(number, upload, event)
            elif isinstance(event, Tags) and any(n == TAG_END_OF_FRAGMENT for n, _ in event.pairs):
                self._end_of_fragment(upload)
            if problem is not None:
                return f"upload {number}: {problem}"
        return None

    def _begin_upload(self) -> Upload:
        assert self._world.stream is not None, "check() has checked"
        first = self._resume()
        self._loss, self._ended_session = None, False
        self._received = min(self._received, first)
        self._current = first
        return Upload(first, first, first, self._world.stream._core.buffer.session_start(first))

    @staticmethod
    def _close(upload: Upload) -> None:
        if upload.fragments:
            upload.fragments[-1].closed = True

    def _end_of_fragment(self, upload: Upload) -> None:
        """Record an end-of-fragment tag: it is a mark that was put, or it ends the session."""
        self._close(upload)
        index = self._next(upload.next)
        if index < len(self.items) and self.items[index].mark:
            upload.next = self._current = index + 1
        else:
            self._ended_session = True

    def _block(self, number: int, upload: Upload, block: Block) -> str | None:
        payload, fragment = bytes(block.frames[0]), upload.fragments[-1]
        begins = not fragment.items
        index = upload.next
        if index >= self._tail or self.items[index].payload != payload:  # or already sent
            index = self._next(index)
        if self._ordered:
            index = self._find(payload)
        if index >= len(self.items) or self.items[index].payload != payload:
            right = "nothing" if index >= len(self.items) else self.items[index].payload[:8].hex()
            return f"carries {payload[:8].hex()} instead of {right}"
        item = self.items[index]
        if begins != item.start and not self._ordered:
            return f"{payload[:8].hex()} begins a fragment: {begins}"
        if begins and self._by_key and not (item.key or self._ordered):
            return f"a fragment begins with {payload[:8].hex()}, which is not a key frame"
        upload.last = index if begins else upload.last
        fragment.items.append(item)
        time = self._base(number) + (fragment.timecode + block.relative_timecode) * self._scale
        if abs(time - item.pts) > (_TIE * self._scale if self._ordered else 0):
            return f"{payload[:8].hex()} is {item.pts - time} ticks off its time"
        item.received, item.stored = False, item.stored or not self._acks
        item.maybe |= fragment.final
        upload.next = self._current = index + 1
        return None

    def _find(self, payload: bytes) -> int:
        """Return the frame with this payload; frames of several tracks are reordered by time."""
        found = (i for i, item in enumerate(self.items) if item.payload == payload)
        return next(found, len(self.items))

    # --- checks of the whole stream -------------------------------------------------------------
    def _given(self, step: Json, got: Record) -> str | None:
        """Return a problem if a read found no more data although an item was not read."""
        stream, number = self._world.stream, self._world.named_upload
        assert stream is not None, "check() has checked"
        reader = stream._core.uploads.reader
        if not step["op"].startswith("read") or got["status"] != _NO_MORE_DATA or self._ordered:
            return None
        if reader is None or reader.number != number or not reader.reading:
            return None
        upload = self.uploads.get(number)
        index = self._resume() if upload is None else self._next(upload.next)
        if index < len(self.items):
            return f"upload {number} did not read {self.items[index].payload[:8].hex()}"
        return None

    def _books(self) -> str | None:
        """Check the stream's account: stored frames were acknowledged, dropped ones reported."""
        assert self._world.stream is not None, "check() has checked"
        account = self._world.stream.account()
        if self._ordered:  # frames may be skipped when their turn comes
            return (
                None
                if account.accepted == sum(account) - account.skipped - account.accepted
                else f"{account}"
            )
        frames = [item for item in self.items if not item.mark]
        held = [item for item in frames if not item.dropped]
        least = sum(item.stored for item in held)
        most = sum(item.stored or item.maybe for item in held)
        if (
            account.accepted != len(frames)
            or account.dropped != len(frames) - len(held)
            or not least <= account.persisted <= most
            or account.held != account.accepted - account.persisted - account.dropped
        ):
            dropped = len(frames) - len(held)
            return f"{account}: put {len(frames)}, dropped {dropped}, stored {least} to {most}"
        return None

    def _figures(self, step: Json, got: Record) -> str | None:
        """Compare the figures of a probe with those that were observed."""
        for event in self._world.raw:
            self._seen[type(event).__name__] += 1
        if step["op"] != "probe":
            return None
        metrics, items = got["metrics"], got["buffer"]["items"]
        unsent = [item for item in items if item["index"] >= got["buffer"]["current"]]
        right = {
            "transferred": self._read_bytes,
            "latency_pressures": self._seen["StreamLatencyPressure"],
            "buffer_pressures": self._seen["BufferDurationPressure"],
            "storage_pressures": self._seen["StoragePressure"],
            "stale_events": self._seen["ConnectionStale"],
            "overall_view_size": sum(item["length"] for item in items),
            "view_size": sum(item["length"] for item in unsent),
        }
        wrong = {name: value for name, value in right.items() if metrics[name] != value}
        return f"figures: expected {wrong}, got {metrics}" if wrong else None

    def _uploading(self) -> str | None:
        """Return a problem if there is media to send, no upload, and no reason for it."""
        world = self._world
        assert world.stream is not None, "check() has checked"
        stream, core = world.stream, world.stream._core
        self._active = {upload.number for upload in core.uploads if upload.active}
        self._was_tail = self._tail
        excused = stream.failure or stream.closed or not stream.ready or world.answers
        if self._active or excused or world.deferred is not None or self._ordered:
            return None
        index = self._resume()
        return f"no upload, but item {index} must be sent" if index < len(self.items) else None

    # --- the end --------------------------------------------------------------------------------
    def finish(self) -> str | None:
        """Continue with a service that accepts everything; return what is wrong, or None."""
        world = self._world
        world.heal()
        if (stream := world.stream) is None or self._lost:
            return None
        steps = iter(self._two_more_fragments())
        for _ in range(_ROUNDS):
            before = stream.stopped, stream.account(), self._read_bytes, set(self._active)
            for step in chain(steps, self._turn()):
                problem = self.check(step, world.step(step))
                if problem is not None:
                    return f"at the end, {step['op']}: {problem}"
            if stream.closed or stream.failure is not None:
                break
            if before == (True, stream.account(), self._read_bytes, self._active):
                break
        if self._lost:
            return None
        frames = [
            item
            for item in self.items
            if not (item.mark or item.dropped or item.stored or item.maybe or self._ordered)
        ]
        if stream.failure is None and (frames or not stream.closed or stream.account().held):
            lost = " ".join(item.payload[:8].hex() for item in frames)
            return f"at the end: {stream.account()}, neither stored nor dropped: {lost}"
        return None

    def _two_more_fragments(self) -> Iterator[Json]:
        """Put two more fragments into an open stream; the first begins a session that was due."""
        stream = self._world.stream
        if stream is None or stream.stopped or stream.failure is not None or stream.closed:
            return
        newest = stream._core.buffer.view.newest
        time = self._world.now if newest is None else newest.ack_timestamp + newest.duration
        yield {"op": "advance_clock", "by": 5 * SECOND}
        frame = {"op": "put_frame", "flags": "K", "duration": SECOND}
        yield {**frame, "pts": time + SECOND, "data": "0000000165e0"}
        yield {"op": "advance_clock", "by": SECOND}
        yield {**frame, "pts": time + 2 * SECOND, "data": "0000000165e1"}

    def _turn(self) -> Iterator[Json]:
        """Yield the next steps of the service and the network, and then of the application."""
        yield {"op": "put_answer", "result": 200}
        before = self._read_bytes
        for number in sorted(self._active):
            yield {"op": "read_all", "upload": number}
        # The newest first: acks of one connection say nothing about another.
        for number in sorted(self._active & self.uploads.keys(), reverse=True):
            for fragment in self.uploads[number].fragments:
                if fragment.closed and not fragment.acked:
                    fragment.acked = True
                    yield from self._acks_of(number, fragment)
        yield {"op": "advance_clock", "by": SECOND}
        if before == self._read_bytes:
            yield {"op": "stop"}

    def _acks_of(self, number: int, fragment: Fragment) -> Iterator[Json]:
        timecode = fragment.timecode * self._scale // self._units[0]
        for kind in ("BUFFERING", "RECEIVED", "PERSISTED"):
            ack = {"EventType": kind, "FragmentTimecode": timecode, "FragmentNumber": "1"}
            yield {"op": "ack_on", "upload": number, "json": json.dumps(ack)}


def named_acks(step: Json) -> Iterator[tuple[str, int | None, int]]:
    """Yield kind, timecode and result of the acks of a step; ignore invalid JSON."""
    if step["op"] == "ack_struct":
        timecode = None if step["timecode"] == NEVER else step["timecode"]
        yield _KINDS.get(step["type"], ""), timecode, step["result"]
        return
    decoder, text = json.JSONDecoder(), step["json"].strip()
    while text:
        try:
            ack, end = decoder.raw_decode(text)
        except ValueError:
            return
        if isinstance(ack, dict):
            timecode, result = ack.get("FragmentTimecode"), ack.get("ErrorId", 200)
            known = isinstance(timecode, int) and timecode < NEVER
            yield str(ack.get("EventType")), timecode if known else None, int(result)
        text = text[end:].strip()
