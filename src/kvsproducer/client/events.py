"""The events that the core reports: frozen dataclasses with the base class `Event`.

`Client.next_event` and `Stream.next_event` return them in order. While all frames are stored, there
are no events per frame, only per fragment: one for each ack. Losses and pressures may occur with
every frame, so the queue merges their events. For example, a group of pictures that is dropped in
one step is one event.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum

from kvsproducer.client.ack import FragmentAck
from kvsproducer.client.states import StreamState
from kvsproducer.duration import to_datetime
from kvsproducer.status import StatusCode

__all__ = [
    "AckRejected",
    "BufferDurationPressure",
    "ClientErrorReported",
    "ClientReady",
    "ClockSkewDetected",
    "ConnectionStale",
    "DropReason",
    "Event",
    "EventQueue",
    "FragmentAcked",
    "FragmentDropped",
    "FragmentStored",
    "FrameDropped",
    "FrameSkipped",
    "StoragePressure",
    "StreamEnded",
    "StreamErrorReported",
    "StreamLatencyPressure",
    "StreamReady",
    "StreamShutdown",
    "StreamStateChanged",
    "TimeJumped",
    "TimestampCorrected",
    "TrackResumed",
    "TrackSilent",
    "UploadStarted",
    "merge_events",
]


class DropReason(Enum):
    """The reason why an accepted frame will not be stored."""

    OVERFLOW = "overflow"  # the store or the view was full and the frame was never sent
    UNCONFIRMED = "unconfirmed"  # sent, never acknowledged, and too old to be sent again
    REFUSED = "refused"  # the service refused its fragment for good
    INVALID = "invalid"  # accepted into the order coordinator's queue, refused when it was packaged
    UNREADABLE = "unreadable"  # the content store, such as a file of it, was damaged
    RESET = "reset"  # the stream was reset
    CLOSED = "closed before it was stored"  # the stream, or its producer, was closed before that
    INTERRUPTED = "interrupted"  # an exception from outside the core failed the stream


@dataclass(frozen=True, slots=True)
class Event:
    """Base class of all events. `stream` is a stream's name, None for an event of the producer.

    Events are immutable. An event equals another one of the same type with the same members. Events
    can be matched by position: `case FrameDropped(stream, first, last, count)`.
    """

    stream: str | None


@dataclass(frozen=True, slots=True)
class ClientReady(Event):
    """Fired once, when the client has credentials and a device."""

    stream: str | None = None


@dataclass(frozen=True, slots=True)
class ClientErrorReported(Event):
    """Fired when the set-up of the client failed with `status`."""

    status: StatusCode
    detail: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class ClockSkewDetected(Event):
    """Fired when the service's clock is `skew` ticks ahead of this machine's (behind: negative).

    From then on, requests are signed with the service's time. Frames keep their own times. If these
    come from this machine's clock, set the clock.
    """

    skew: int


@dataclass(frozen=True, slots=True)
class StreamReady(Event):
    """Fired when the stream can upload: at first, and after every recovery.

    `warning` says how an existing stream differs from `StreamInfo` (how long it keeps media). Each
    difference is reported once; "" if there is none.
    """

    stream: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class StreamStateChanged(Event):
    """Fired when the stream's state machine moved from `old` to `new`."""

    stream: str
    old: StreamState
    new: StreamState


@dataclass(frozen=True, slots=True)
class UploadStarted(Event):
    """Fired when the PutMedia request with the number `upload` was started."""

    stream: str
    upload: int


@dataclass(frozen=True, slots=True)
class StreamEnded(Event):
    """Fired when a stopped stream has nothing left to send or to wait for.

    `upload` is the number of its last upload.
    """

    stream: str
    upload: int | None


@dataclass(frozen=True, slots=True)
class StreamShutdown(Event):
    """Fired when the uploads are aborted: the stream was reset (`reset` is True) or freed."""

    stream: str
    reset: bool


@dataclass(frozen=True, slots=True)
class FragmentAcked(Event):
    """Fired for every ack except IDLE; `ack.timecode` is in milliseconds, as sent."""

    stream: str
    upload: int
    ack: FragmentAck


@dataclass(frozen=True, slots=True)
class FragmentStored(Event):
    """Fired when the service has stored a fragment permanently.

    A PERSISTED ack shows this, or RECEIVED in a stream without retention. A stream without acks
    (`fragment_acks=False`) has no such events.

    `first_pts` and `last_pts` are the earliest and the latest pts of its `frames` frames, as they
    were put, in ticks. `fragment_number` is the service's number, or "" if the ack of a later
    fragment showed that this one is stored. `latency` is the time in seconds from the put of the
    fragment's first frame to the ack, so it includes the fragment's own length. If an open fragment
    takes more frames after it was stored, another event reports these frames.
    """

    stream: str
    first_pts: int
    last_pts: int
    frames: int
    fragment_number: str
    latency: float

    @property
    def datetime(self) -> dt.datetime:
        """`first_pts` as a `datetime` in UTC; it is in 1970 if the stream's times are relative."""
        return to_datetime(self.first_pts)


@dataclass(frozen=True, slots=True)
class AckRejected(Event):
    """Fired when an ack could not be parsed, or names a fragment that is not held (any more)."""

    stream: str
    upload: int
    timecode: int | None
    status: StatusCode
    detail: str


@dataclass(frozen=True, slots=True)
class FrameDropped(Event):
    """Fired when `count` accepted frames were dropped; `first` and `last` are their dts (ticks)."""

    stream: str
    first: int
    last: int
    count: int
    reason: DropReason

    @property
    def datetime(self) -> dt.datetime:
        """`first` as a `datetime` in UTC; it is in 1970 if the stream's times are relative."""
        return to_datetime(self.first)


@dataclass(frozen=True, slots=True)
class FragmentDropped(Event):
    """Fired instead of `FrameDropped` in near-real-time streams; it has the same members."""

    stream: str
    first: int
    last: int
    count: int
    reason: DropReason

    @property
    def datetime(self) -> dt.datetime:
        """`first` as a `datetime` in UTC; it is in 1970 if the stream's times are relative."""
        return to_datetime(self.first)


@dataclass(frozen=True, slots=True)
class FrameSkipped(Event):
    """Fired when `count` frames were not accepted because a key frame must come first.

    `first` and `last` are their dts in ticks.
    """

    stream: str
    first: int
    last: int
    count: int

    @property
    def datetime(self) -> dt.datetime:
        """`first` as a `datetime` in UTC; it is in 1970 if the stream's times are relative."""
        return to_datetime(self.first)


@dataclass(frozen=True, slots=True)
class StreamLatencyPressure(Event):
    """Fired when more media than `max_latency` waits to be sent; `duration` is in ticks."""

    stream: str
    duration: int


@dataclass(frozen=True, slots=True)
class BufferDurationPressure(Event):
    """Fired when 5 % or less of `buffer_duration` is left; `remaining` is in ticks."""

    stream: str
    remaining: int


@dataclass(frozen=True, slots=True)
class StoragePressure(Event):
    """Fired when 5 % or less of the storage is left; `remaining` is in bytes."""

    stream: str
    remaining: int


@dataclass(frozen=True, slots=True)
class ConnectionStale(Event):
    """Fired when the service sent no BUFFERING ack for `duration` ticks of sent media."""

    stream: str
    duration: int


@dataclass(frozen=True, slots=True)
class TimeJumped(Event):
    """Fired when the times of a stream's frames jump, for example because a clock was set.

    `before` is the dts of the last frame before the jump, `after` the dts of the first frame after
    it, both in ticks. After a jump back, a new upload begins with the next key frame, because the
    service compares times within one upload only.
    """

    stream: str
    before: int
    after: int

    @property
    def datetime(self) -> dt.datetime:
        """`after` as a `datetime` in UTC; it is in 1970 if the stream's times are relative."""
        return to_datetime(self.after)


@dataclass(frozen=True, slots=True)
class TimestampCorrected(Event):
    """Fired when a frame's time was far from its neighbours' and was changed to lie between them.

    `given` is the dts with which the frame was put, `used` the dts with which it was stored, both
    in ticks.
    """

    stream: str
    track_id: int
    given: int
    used: int

    @property
    def datetime(self) -> dt.datetime:
        """`used` as a `datetime` in UTC; it is in 1970 if the stream's times are relative."""
        return to_datetime(self.used)


@dataclass(frozen=True, slots=True)
class TrackSilent(Event):
    """Fired when a track has had no frames for 5 s of media while other tracks had some.

    In an offline stream with ordered tracks (`frame_order_mode`) the limit is 20 s. In a stream
    without ordered tracks, the event comes sooner if the service refuses a fragment that lacks the
    track. The service refuses every fragment in which a declared track has no frame. So the stream
    continues without the track: a new upload begins with the next key frame, or with the refused
    fragment. `last` is the dts of the track's newest frame in ticks, None if there is none or it is
    unknown.
    """

    stream: str
    track_id: int
    last: int | None

    @property
    def datetime(self) -> dt.datetime | None:
        """`last` as a `datetime` in UTC (in 1970 if the stream's times are relative), or None."""
        return None if self.last is None else to_datetime(self.last)


@dataclass(frozen=True, slots=True)
class TrackResumed(Event):
    """Fired when a silent track has frames again; it is stored from the next key frame on.

    The track's frames before that key frame are skipped. `first` is the dts of the track's first
    new frame in ticks.
    """

    stream: str
    track_id: int
    first: int

    @property
    def datetime(self) -> dt.datetime:
        """`first` as a `datetime` in UTC; it is in 1970 if the stream's times are relative."""
        return to_datetime(self.first)


@dataclass(frozen=True, slots=True)
class StreamErrorReported(Event):
    """Fired when an error occurred in the stream; `fatal` is True if the stream cannot recover.

    `upload` and `timecode` (of the fragment, in timecode units) are None if they do not apply.
    """

    stream: str
    upload: int | None
    timecode: int | None
    status: StatusCode
    detail: str
    fatal: bool


_LOSSES = (FrameDropped, FragmentDropped, FrameSkipped)
_REPEATED = (StreamLatencyPressure, BufferDurationPressure, StoragePressure, ConnectionStale)
_MERGING = _LOSSES + _REPEATED


class EventQueue:
    """A bounded queue of events, in which similar events merge while they wait.

    A drop or skip event merges with a queued one of the same stream and reason. A pressure event
    replaces a queued one of its kind. They merge only if no other kind of event waits between them.
    When the queue is full, they merge across other events too.

    Other events are rare and are appended until the queue has twice its bound. After that, the
    oldest event that is neither a drop nor a skip is removed. Drops and skips are never removed,
    because the API promises to report them.

    While the queue has events, it is listed in `active_queues`, at the left end if `first` is true.
    """

    __slots__ = ("_active_queues", "_bound", "_events", "_first")

    def __init__(
        self, bound: int, active_queues: deque[EventQueue] | None = None, *, first: bool = False
    ) -> None:
        self._bound = bound
        self._events: deque[Event] = deque(maxlen=2 * bound)
        self._active_queues = deque[EventQueue]() if active_queues is None else active_queues
        self._first = first

    def __len__(self) -> int:
        return len(self._events)

    def push(self, event: Event) -> None:
        """Append an event, or merge it into the newest queued event with which it can merge."""
        events = self._events
        if not events:
            if self._first:
                self._active_queues.appendleft(self)
            else:
                self._active_queues.append(self)
        elif isinstance(event, _MERGING) and self._merge(event):
            return
        if len(events) == events.maxlen:
            self._make_room()
        events.append(event)

    def _merge(self, event: Event) -> bool:
        """Merge an event into a queued one; return False if no queued event can merge with it.

        The loop is short unless the queue is full. It passes only events of kinds that merge, so
        there is about one of each kind.
        """
        events, full = self._events, len(self._events) >= self._bound
        for index in range(len(events) - 1, -1, -1):
            queued = events[index]
            both = merge_events(queued, event)
            if both is not None:
                events[index] = both
                return True
            if not (full or isinstance(queued, _MERGING)):
                return False
        return False

    def _make_room(self) -> None:
        others = (i for i, old in enumerate(self._events) if not isinstance(old, _LOSSES))
        oldest = next(others, None)  # found at once, unless the queue is full of losses
        assert oldest is not None, "drops and skips merge to fewer than the bound"
        del self._events[oldest]

    def pop(self) -> Event | None:
        """Remove and return the oldest event, or return None."""
        if not self._events:
            return None
        event = self._events.popleft()
        if not self._events:
            self._active_queues.remove(self)  # in most cases the first of them
        return event

    def take(self, kinds: tuple[type[Event], ...]) -> list[Event]:
        """Remove and return the events of these kinds, oldest first; keep the others in order."""
        found = [event for event in self._events if isinstance(event, kinds)]
        if found:
            left = [event for event in self._events if not isinstance(event, kinds)]
            self._events = deque(left, maxlen=self._events.maxlen)
            if not left:
                self._active_queues.remove(self)
        return found


def merge_events(old: Event, new: Event) -> Event | None:
    """Return one event that contains the data of both, or None if they do not merge.

    Drops and skips of one stream merge if the reason is the same: their counts are added. Of two
    pressures of a kind, the newer one is returned.
    """
    if type(old) is not type(new) or old.stream != new.stream:
        return None
    if isinstance(old, FrameSkipped) and isinstance(new, FrameSkipped):
        first, last = min(old.first, new.first), max(old.last, new.last)
        return FrameSkipped(old.stream, first, last, old.count + new.count)
    if isinstance(old, FrameDropped | FragmentDropped) and isinstance(new, type(old)):
        if old.reason is not new.reason:
            return None
        first, last = min(old.first, new.first), max(old.last, new.last)
        return replace(old, first=first, last=last, count=old.count + new.count)
    return new if isinstance(new, _REPEATED) else None
