"""What the core reports: frozen dataclasses of the base class `Event`.

`Client.next_event` and `Stream.next_event` hand them out in order. While everything is stored,
there is no event per frame, only per fragment: one for each ack. Losses and pressures come with
frames, so the queue merges them: a group of pictures that is dropped in one step is one event.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum

from kvsproducer.client.ack import FragmentAck
from kvsproducer.client.states import StreamState
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
    """Why an accepted frame will not be stored."""

    OVERFLOW = "overflow"  # the store or the view was full and the frame was never sent
    UNCONFIRMED = "unconfirmed"  # sent, never acknowledged, and too old to be sent again
    REFUSED = "refused"  # the service refused its fragment for good
    INVALID = "invalid"  # accepted into a queue of the order coordinator, refused by the packager
    UNREADABLE = "unreadable"  # the content store, such as a file of it, was damaged
    RESET = "reset"  # the stream was reset
    FREED = "freed"  # the stream was freed with the frame still in it
    INTERRUPTED = "interrupted"  # an exception from outside the core failed the stream


@dataclass(frozen=True, slots=True)
class Event:
    """Base class of all events; `stream` is the name of its stream, None for one of the producer.

    Events are immutable, equal only to an event of the same type with the same members, and can be
    matched by position: `case FrameDropped(stream, first, last, count)`.
    """

    stream: str | None


@dataclass(frozen=True, slots=True)
class ClientReady(Event):
    """Fired when the client has credentials and a device, once."""

    stream: str | None = None


@dataclass(frozen=True, slots=True)
class ClientErrorReported(Event):
    """Fired when the client's own set-up failed with `status`."""

    status: StatusCode
    detail: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class ClockSkewDetected(Event):
    """Fired when the service's clock is `skew` ticks ahead of this machine's (behind: negative).

    Requests are signed with the service's time from then on. Frames keep the time that they were
    put with: if this machine's clock stamps them, set it.
    """

    skew: int


@dataclass(frozen=True, slots=True)
class StreamReady(Event):
    """Fired when the stream can upload: at first, and after every recovery.

    `warning` says what an existing stream does otherwise than `StreamInfo` asked for (how long it
    keeps media), once; "" if nothing.
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
    """Fired when a PutMedia request `upload` was started."""

    stream: str
    upload: int


@dataclass(frozen=True, slots=True)
class StreamEnded(Event):
    """Fired when a stopped stream has nothing left to send or to wait for; `upload` the last."""

    stream: str
    upload: int | None


@dataclass(frozen=True, slots=True)
class StreamShutdown(Event):
    """Fired when the stream's uploads are thrown away: reset (True) or freed (False)."""

    stream: str
    reset: bool


@dataclass(frozen=True, slots=True)
class FragmentAcked(Event):
    """Fired for every ack but IDLE; `ack.timecode` is in milliseconds, as the service gives it."""

    stream: str
    upload: int
    ack: FragmentAck


@dataclass(frozen=True, slots=True)
class FragmentStored(Event):
    """Fired when the service has stored a fragment for good.

    That is with its PERSISTED ack, or RECEIVED in a stream without retention. A stream without
    acks (`fragment_acks=False`) has no such events.

    `first_pts` and `last_pts` are the earliest and the latest pts among its `frames` frames, as
    they were put, in ticks. `fragment_number` is the service's number, "" when the service said so
    with the ack of a later fragment. `latency` is how long the service took to store it: seconds
    from the put of the fragment's first frame to the ack, so it includes the fragment's own length.
    Frames that an open fragment takes after it was stored come with another event.
    """

    stream: str
    first_pts: int
    last_pts: int
    frames: int
    fragment_number: str
    latency: float


@dataclass(frozen=True, slots=True)
class AckRejected(Event):
    """Fired when an ack could not be read, or names a fragment that is not held (any more)."""

    stream: str
    upload: int
    timecode: int | None
    status: StatusCode
    detail: str


@dataclass(frozen=True, slots=True)
class FrameDropped(Event):
    """Fired when `count` accepted frames were given up; `first`, `last` are their dts (ticks)."""

    stream: str
    first: int
    last: int
    count: int
    reason: DropReason


@dataclass(frozen=True, slots=True)
class FragmentDropped(Event):
    """As `FrameDropped`, for near-real-time streams."""

    stream: str
    first: int
    last: int
    count: int
    reason: DropReason


@dataclass(frozen=True, slots=True)
class FrameSkipped(Event):
    """Fired when frames were not accepted because a key frame must come first; dts in ticks."""

    stream: str
    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class StreamLatencyPressure(Event):
    """Fired when more than `max_latency` of media waits to be sent: `duration` ticks."""

    stream: str
    duration: int


@dataclass(frozen=True, slots=True)
class BufferDurationPressure(Event):
    """Fired when 5 % or less of `buffer_duration` is left: `remaining` ticks."""

    stream: str
    remaining: int


@dataclass(frozen=True, slots=True)
class StoragePressure(Event):
    """Fired when 5 % or less of the storage is left: `remaining` bytes."""

    stream: str
    remaining: int


@dataclass(frozen=True, slots=True)
class ConnectionStale(Event):
    """Fired when the service has not said BUFFERING for `duration` ticks of sent media."""

    stream: str
    duration: int


@dataclass(frozen=True, slots=True)
class TimeJumped(Event):
    """Fired when the frames of a stream go on at another time: its source's clock was set.

    `before` is the dts of the last frame at the old time, `after` that of the first at the new one,
    both in ticks. After a jump back a new upload begins with the next key frame, since the service
    compares times within one upload only.
    """

    stream: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class TimestampCorrected(Event):
    """Fired when a single frame was far from its neighbours and was stored between them.

    `given` is the dts that the frame was put with, `used` the one it was stored with; ticks.
    """

    stream: str
    track_id: int
    given: int
    used: int


@dataclass(frozen=True, slots=True)
class TrackSilent(Event):
    """Fired when a track has had no frames for 5 s of media while others had.

    Offline it is 20 s, if the stream puts its tracks in order (`frame_order_mode`). If it does not,
    it is sooner when the service refuses a fragment for the track. The service refuses fragments
    that lack a track, so the stream goes on without it, in a new upload from the next key frame, or
    from the refused fragment, on. `last` is the dts of its newest frame in ticks, None if it never
    had one, or none is known.
    """

    stream: str
    track_id: int
    last: int | None


@dataclass(frozen=True, slots=True)
class TrackResumed(Event):
    """Fired when a silent track has frames again: it is back with the next key frame.

    Its frames before that are skipped. `first` is the dts of the first one in ticks.
    """

    stream: str
    track_id: int
    first: int


@dataclass(frozen=True, slots=True)
class StreamErrorReported(Event):
    """Fired when something went wrong with the stream; `fatal` when it will not recover itself.

    `upload` and `timecode` (of the fragment, stream timecode units) are None when none applies.
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
    """A bounded queue of events, of which neighbours merge while they wait.

    A drop or skip joins one of its stream and reason, a pressure replaces the one of its kind, if
    nothing but drops, skips and pressures waits between the two. When the queue is full, they merge
    whatever is between them. Anything else is still appended, for it is rare, up to twice the
    bound; then the oldest event goes that is no drop or skip, since those are promised.

    While it has events, the queue is in `talkative`; at the left end if it is `first`.
    """

    __slots__ = ("_bound", "_events", "_first", "_talkative")

    def __init__(
        self, bound: int, talkative: deque[EventQueue] | None = None, *, first: bool = False
    ) -> None:
        self._bound = bound
        self._events: deque[Event] = deque(maxlen=2 * bound)
        self._talkative = deque[EventQueue]() if talkative is None else talkative
        self._first = first

    def __len__(self) -> int:
        return len(self._events)

    def push(self, event: Event) -> None:
        """Append an event, or merge it into the newest one that it merges with."""
        events = self._events
        if not events:
            if self._first:
                self._talkative.appendleft(self)
            else:
                self._talkative.append(self)
        elif isinstance(event, _MERGING) and self._merge(event):
            return
        if len(events) == events.maxlen:
            self._make_room()
        events.append(event)

    def _merge(self, event: Event) -> bool:
        """Merge an event into a queued one; return False if there is none.

        The walk is short: what it passes has merged too, so it passes one event of each kind.
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
        """Take the oldest event, or return None."""
        if not self._events:
            return None
        event = self._events.popleft()
        if not self._events:
            self._talkative.remove(self)  # mostly the first of them
        return event

    def take(self, kinds: tuple[type[Event], ...]) -> list[Event]:
        """Take the events of these kinds, oldest first; the others stay in order."""
        found = [event for event in self._events if isinstance(event, kinds)]
        if found:
            left = [event for event in self._events if not isinstance(event, kinds)]
            self._events = deque(left, maxlen=self._events.maxlen)
            if not left:
                self._talkative.remove(self)
        return found


def merge_events(old: Event, new: Event) -> Event | None:
    """Return one event that says what both say, or None when they do not merge.

    Drops and skips of one stream merge when the reason is the same: the counts add up. Of two
    pressures of a kind the newer one is returned.
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
