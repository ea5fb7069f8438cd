"""What the core tells: immutable records, each with the name of its stream (None: the client).

`Client.next_event` and `Stream.next_event` hand them out in order. No event is made per frame on
the happy path: one per ack, per drop, per pressure. They are named tuples where they can be, which
are quickest to make (a field named `count` cannot be in one).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

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
    "TimestampsNearEpoch",
    "TrackResumed",
    "TrackSilent",
    "UploadStarted",
    "merged",
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


class ClientReady(NamedTuple):
    """Fired when the client has credentials and a device, once."""

    stream: str | None = None


class ClientErrorReported(NamedTuple):
    """Fired when the client's own set-up failed with `status`."""

    stream: str | None
    status: StatusCode
    detail: str
    fatal: bool


class ClockSkewDetected(NamedTuple):
    """Fired when the service's clock is `skew` ticks ahead of this machine's (behind: negative).

    Requests are signed with the service's time from then on. Frames keep the time that they were
    put with: who stamps them with this machine's clock should set it.
    """

    stream: str | None
    skew: int


class StreamReady(NamedTuple):
    """Fired when the stream can upload: at first, and after every recovery.

    `warning` says what an existing stream does otherwise than `StreamInfo` asked for (how long it
    keeps media), once; "" if nothing.
    """

    stream: str
    warning: str = ""


class StreamStateChanged(NamedTuple):
    """Fired when the stream's state machine moved from `old` to `new`."""

    stream: str
    old: StreamState
    new: StreamState


class UploadStarted(NamedTuple):
    """Fired when a PutMedia request `upload` was started."""

    stream: str
    upload: int


class StreamEnded(NamedTuple):
    """Fired when a stopped stream has nothing left to send or to wait for; `upload` the last."""

    stream: str
    upload: int | None


class StreamShutdown(NamedTuple):
    """Fired when the stream's uploads are thrown away: reset (True) or freed (False)."""

    stream: str
    reset: bool


class FragmentAcked(NamedTuple):
    """Fired for every ack but IDLE; `ack.timecode` is in milliseconds, as the service gives it."""

    stream: str
    upload: int
    ack: FragmentAck


class AckRejected(NamedTuple):
    """Fired when an ack could not be read, or names a fragment that is not held (any more)."""

    stream: str
    upload: int
    timecode: int | None
    status: StatusCode
    detail: str


@dataclass(frozen=True, slots=True)
class FrameDropped:
    """Fired when `count` accepted frames were given up; `first`, `last` are their dts (ticks)."""

    stream: str
    first: int
    last: int
    count: int
    reason: DropReason


@dataclass(frozen=True, slots=True)
class FragmentDropped:
    """As `FrameDropped`, for near-real-time streams."""

    stream: str
    first: int
    last: int
    count: int
    reason: DropReason


@dataclass(frozen=True, slots=True)
class FrameSkipped:
    """Fired when frames were not accepted because a key frame must come first; dts in ticks."""

    stream: str
    first: int
    last: int
    count: int


class StreamLatencyPressure(NamedTuple):
    """Fired when more than `max_latency` of media waits to be sent: `duration` ticks."""

    stream: str
    duration: int


class BufferDurationPressure(NamedTuple):
    """Fired when 5 % or less of `buffer_duration` is left: `remaining` ticks."""

    stream: str
    remaining: int


class StoragePressure(NamedTuple):
    """Fired when 5 % or less of the storage is left: `remaining` bytes."""

    stream: str
    remaining: int


class ConnectionStale(NamedTuple):
    """Fired when the service has not said BUFFERING for `duration` ticks of sent media."""

    stream: str
    duration: int


class TimestampsNearEpoch(NamedTuple):
    """Fired once when the first fragment of a stream with absolute timecodes begins before 1980.

    `pts` in ticks counts from 1970 then, and the service refuses or misplaces such media: put
    frames with `kvsproducer.now()`, or set `absolute_fragment_times=False`.
    """

    stream: str
    pts: int


class TimeJumped(NamedTuple):
    """Fired when the frames of a stream go on at another time: its source's clock was set.

    `before` is the dts of the last frame at the old time, `after` that of the first at the new one,
    both in ticks. After a jump back a new upload begins with the next key frame, since the service
    compares times within one upload only.
    """

    stream: str
    before: int
    after: int


class TimestampCorrected(NamedTuple):
    """Fired when a single frame was far from its neighbours and was stored between them.

    `given` is the dts that the frame was put with, `used` the one it was stored with; ticks.
    """

    stream: str
    track_id: int
    given: int
    used: int


class TrackSilent(NamedTuple):
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


class TrackResumed(NamedTuple):
    """Fired when a silent track has frames again: it is back with the next key frame.

    Its frames before that are skipped. `first` is the dts of the first one in ticks.
    """

    stream: str
    track_id: int
    first: int


class StreamErrorReported(NamedTuple):
    """Fired when something went wrong with the stream; `fatal` when it will not recover itself.

    `upload` and `timecode` (of the fragment, stream timecode units) are None when none applies.
    """

    stream: str
    upload: int | None
    timecode: int | None
    status: StatusCode
    detail: str
    fatal: bool


Event = (
    ClientReady
    | ClientErrorReported
    | ClockSkewDetected
    | StreamReady
    | StreamStateChanged
    | UploadStarted
    | StreamEnded
    | StreamShutdown
    | FragmentAcked
    | AckRejected
    | FrameDropped
    | FragmentDropped
    | FrameSkipped
    | StreamLatencyPressure
    | BufferDurationPressure
    | StoragePressure
    | ConnectionStale
    | TimestampsNearEpoch
    | TimeJumped
    | TimestampCorrected
    | TrackSilent
    | TrackResumed
    | StreamErrorReported
)

_MERGED = (FrameDropped, FragmentDropped, FrameSkipped)
_REPEATED = (StreamLatencyPressure, BufferDurationPressure, StoragePressure, ConnectionStale)


class EventQueue:
    """A bounded queue of events: when it is full, what can merge does.

    While it has events, it is in `talkative`; at the left end if it is `first`.

    Drops and skips next to their like become one event; of repeated pressures the newest stays;
    anything else is still appended, for it is rare, up to twice the bound; then the oldest goes
    that is no drop or skip, for those are promised.
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
        """Append an event, or merge it into the newest of its kind."""
        events = self._events
        if not events:
            if self._first:
                self._talkative.appendleft(self)
            else:
                self._talkative.append(self)
        elif len(events) >= self._bound and isinstance(event, _MERGED + _REPEATED):
            for index in range(len(events) - 1, -1, -1):
                both = merged(events[index], event)
                if both is not None:
                    events[index] = both
                    return
        if len(events) == events.maxlen:
            self._make_room()
        events.append(event)

    def _make_room(self) -> None:
        others = (i for i, old in enumerate(self._events) if not isinstance(old, _MERGED))
        oldest = next(others, None)  # a flood of others finds one at once
        assert oldest is not None, "drops and skips merge to fewer than the bound"
        del self._events[oldest]

    def pop(self) -> Event | None:
        """The oldest event, or None."""
        if not self._events:
            return None
        event = self._events.popleft()
        if not self._events:
            self._talkative.remove(self)  # mostly the first of them
        return event

    def take(self, kinds: tuple[type[Event], ...]) -> list[Event]:
        """The events of these kinds, oldest first; the others stay in order."""
        found = [event for event in self._events if isinstance(event, kinds)]
        if found:
            left = [event for event in self._events if not isinstance(event, kinds)]
            self._events = deque(left, maxlen=self._events.maxlen)
            if not left:
                self._talkative.remove(self)
        return found


def merged(old: Event, new: Event) -> Event | None:
    """One event that says both, or None when they do not merge."""
    if type(old) is not type(new):
        return None
    if isinstance(old, _MERGED) and isinstance(new, _MERGED):
        if getattr(old, "reason", None) is not getattr(new, "reason", None):
            return None
        return replace(
            old,
            first=min(old.first, new.first),
            last=max(old.last, new.last),
            count=old.count + new.count,
        )
    return new if isinstance(new, _REPEATED) else None
