"""The books of a simulated world: what was put, what was reported, what the service really stored.

One `Books` per opened stream. It knows every frame by the name in its payload, and decides after a
run whether the promise was kept: each frame that `put_frame` took is stored unchanged, or was
reported as dropped or skipped, or is held; the stream's own account agrees. `Broken` says what was
not.

A frame may be taken and skipped later, when it waits for another track or because its time is far
from its neighbours'. So all frames count as put, also those that are skipped at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from kvsproducer.client import (
    Event,
    Frame,
    FrameAccount,
    FrameOrderMode,
    FrameSkipped,
    StreamInfo,
    StreamShutdown,
    TimestampCorrected,
    TrackResumed,
    TrackSilent,
)
from kvsproducer.client.events import FragmentDropped, FragmentStored, FrameDropped
from kvsproducer.limits import FAR_TIMESTAMP

__all__ = ["Books", "Broken", "Outcome"]


_NEAR: Final = 12  # frames on each side, beyond which one is no neighbour


class Broken(Exception):
    """An invariant does not hold; the message says which."""


@dataclass(slots=True)
class Outcome:
    """What a world came to."""

    seed: int
    broken: str = ""
    frames: int = 0
    stored: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_but_stored: int = 0
    uploads: int = 0
    faults: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Put:
    """A frame that `put_frame` took: its times as the stream uses them, in ticks."""

    payload: bytes
    pts: int
    dts: int
    track_id: int
    key_frame: bool
    place: int  # among the frames that were put
    moved: int  # ticks that its times are off, alone
    outlier: bool = False  # it was found to be off: it is stored between its neighbours
    stored: int = 0  # how often
    settled_at: int | None = None  # when the core heard the final ack of its fragment, ticks
    skipped: bool = False  # reported as such


class Books:
    """What became of the frames of one stream."""

    def __init__(self, number: int, info: StreamInfo) -> None:
        self.number = number
        self.info = info
        self.put: dict[int, _Put] = {}  # frame number -> frame, in the order of the puts
        self.stored = 0  # different frames
        self.told: list[tuple[int, int, int]] = []  # first, last, count: dropped or skipped
        self.told_stored = 0
        self.told_dropped = 0
        self.told_skipped = 0
        self.rubbish: list[int] = []  # the dts of frames without a number, which were skipped
        self.senseless: list[int] = []  # the dts of all frames without a number
        self.reasons: Counter[str] = Counter()
        self.queues = info.frame_order_mode is not FrameOrderMode.PASS_THROUGH
        self.silent: set[int] = set()  # tracks, as told
        self.mistimed = False  # the times of frames may be wrong
        self.silences = False  # a track may have no frames for a while
        self.emptied = False  # the application has reset the stream
        self._stored_until: int | None = None
        self._pending: list[_Put] = []  # not known to be stored
        self._described: dict[str, str] = {}  # metadata of fragments: value -> name
        self._fresh: list[str] = []  # values that no fragment has begun with yet
        self._due: list[str] = []  # that are to be stored with a fragment
        self._tagged: set[str] = set()  # that are

    # --- what happens ---------------------------------------------------------------------------
    def note_put(self, number: int, frame: Frame, time: int, stored: bytes, moved: int = 0) -> None:
        """`put_frame` took a frame without raising; `stored` is what its payload is to become.

        `time` is that of a frame in a stream that gives the times itself. `moved` ticks of its
        times are an error of this frame alone.
        """
        pts, dts = (frame.pts, frame.dts) if self.info.frame_timecodes else (time, time)
        place = len(self.put)
        self.put[number] = _Put(stored, pts, dts, frame.track_id, frame.key_frame, place, moved)
        self._pending.append(self.put[number])
        if frame.key_frame and self.info.key_frame_fragmentation:
            self._due += self._fresh
            self._fresh.clear()

    def note_outlier(self, number: int) -> None:
        """A frame whose time is far off was put between others that are not."""
        self.put[number].outlier = True

    def note_metadata(self, name: str, value: str, *, persistent: bool) -> None:
        """`put_fragment_metadata` took a pair; each value occurs once."""
        self._described[value] = name
        if not persistent:
            self._fresh.append(value)

    def note_tag(self, name: str, value: str) -> None:
        """The service has stored a tag with a fragment."""
        if self._described.get(value) != name:
            raise Broken(f"the service stored the tag {name}={value!r}, which nobody put")
        self._tagged.add(value)

    def check_metadata(self) -> None:
        """Nothing was dropped: each pair went with a fragment."""
        missing = [value for value in self._due if value not in self._tagged]
        if missing:
            raise Broken(f"metadata was lost: {missing}")

    def note_event(self, event: Event) -> None:
        """The stream told something."""
        if isinstance(event, FrameDropped | FragmentDropped):
            if event.count < 1 or event.first > event.last:
                raise Broken(f"a senseless drop: {event}")
            self.told_dropped += event.count
            self.reasons[event.reason.value] += event.count
            self.told.append((event.first, event.last, event.count))
        elif isinstance(event, FragmentStored):
            self._note_stored(event)
        elif isinstance(event, TrackSilent):
            self.silent.add(event.track_id)
        elif isinstance(event, TrackResumed):
            self.silent.discard(event.track_id)
        elif isinstance(event, TimestampCorrected):
            self._correct(event)
        elif isinstance(event, StreamShutdown):
            self.emptied = True
        elif isinstance(event, FrameSkipped):
            self.told_skipped += event.count
            self.told.append((event.first, event.last, event.count))
            same = [put for put in self.put.values() if put.dts == event.first == event.last]
            if len(same) == 1:  # frames of several tracks may have the same time
                same[0].skipped = True

    def _note_stored(self, event: FragmentStored) -> None:
        if event.frames < 1 or event.first_pts > event.last_pts or event.latency < 0:
            raise Broken(f"a senseless event: {event}")
        self.told_stored += event.frames

    def _correct(self, event: TimestampCorrected) -> None:
        """A frame was given another time than it was put with: drops of it are told with that."""
        for put in reversed(self.put.values()):
            # Without times of its own a frame has that of its put, on a clock that is set.
            wrong = put.moved or not self.info.frame_timecodes
            wrong = wrong or (self.silences and self.mistimed and self._is_lone(put))
            # A frame that is refused or skipped shows that the old time goes on, too.
            wrong = wrong or any(event.used < dts < event.given for dts in self.senseless)
            if put.dts == event.given and put.track_id == event.track_id and wrong:
                put.moved = put.moved or event.given - event.used
                put.dts = event.used
                return
        raise Broken(f"a frame was given another time, which was not far off: {event}")

    def _is_lone(self, put: _Put) -> bool:
        """Whether a frame may look like an outlier because its track was silent around it.

        Only pictures show that the source's clock was set. When it is set while they are silent,
        sound keeps the time that the pictures had; so does a single picture between a pause and
        the next error of the clock.
        """
        if put.track_id != self.info.tracks[0].track_id:
            return True
        same = (p.dts for p in self.put.values() if p.track_id == put.track_id)
        return all(abs(put.dts - dts) > FAR_TIMESTAMP for dts in same if dts != put.dts)

    def note_settled(self, number: int, now: int) -> None:
        """The core has heard that the fragment of a frame is stored."""
        frame = self.put[number]
        if frame.settled_at is None:
            frame.settled_at = now

    def note_stored(
        self, number: int, payload: bytes, track: int, timecode: int | None, opened: int
    ) -> None:
        """The service has stored a block; `timecode` in stream units, None when it is relative.

        It came over a connection that was `opened` then. One that was opened after the final ack of
        the frame has no need of it: stored is done.
        """
        frame = self.put.get(number)
        if frame is None or frame.skipped:
            raise Broken(f"the service stored frame {number}, which was not accepted")
        if frame.settled_at is not None and opened > frame.settled_at and self.info.fragment_acks:
            raise Broken(f"frame {number} was stored again after its final ack, without need")
        if frame.payload != payload:
            raise Broken(f"frame {number} was changed on its way")
        if self.info.tracks[track - 1].track_id != frame.track_id:
            raise Broken(f"frame {number} is on track {track}")
        if frame.moved:
            self._check_moved(number, frame, timecode)
        elif timecode is not None:
            late = timecode - frame.pts // self.info.timecode_scale
            if not 0 <= late <= self.tie:
                raise Broken(f"frame {number} has timecode {timecode}, its pts is {frame.pts}")
        self.stored += not frame.stored
        frame.stored += 1

    def _check_moved(self, number: int, frame: _Put, timecode: int | None) -> None:
        """A frame whose time is off is stored between its neighbours, or as it is.

        That is only when nothing was put after it that could have shown it.
        """
        scale = self.info.timecode_scale
        if timecode is not None and not self.info.frame_timecodes:
            if timecode != frame.dts // scale:
                raise Broken(f"frame {number} has timecode {timecode}, given was {frame.dts}")
            return
        if timecode is None or (timecode == frame.pts // scale and not frame.outlier):
            return
        anywhere = self.silences and not frame.outlier and self._is_lone(frame)
        around = [
            put.pts
            for put in self.put.values()
            if anywhere
            or (
                put.track_id == frame.track_id
                and not put.moved
                and abs(put.place - frame.place) < _NEAR
            )
        ]
        if around and not min(around) // scale <= timecode <= max(around) // scale:
            raise Broken(f"frame {number} was far off, and is stored at {timecode}: {frame.pts}")

    def is_moved(self, number: int) -> bool:
        """Whether the time that a frame was put with is an error."""
        return bool(self.put[number].moved)

    @property
    def tie(self) -> int:
        """How many timecode units the order coordinator may move a frame."""
        return 3 if self.info.frame_order_mode > 1 else 0

    def starts_well(self, number: int) -> bool:
        """Whether a fragment may begin with that frame."""
        # In that mode the first frame after an end of fragment is made a key frame.
        forced = self.info.frame_order_mode is FrameOrderMode.DTS_ONE_MS_COMPENSATE_EOFR
        by_key = self.info.key_frame_fragmentation and not forced
        frame = self.put[number]
        alone = self.silences and self.info.tracks[0].track_id != frame.track_id  # sound, perhaps
        return frame.key_frame or not by_key or alone

    def follows(self, number: int, before: int | None) -> bool:
        """Whether no frame was put between these two."""
        return before is not None and self.put[number].place == self.put[before].place + 1

    def pts(self, number: int) -> int:
        """The presentation time of a frame in timecode units."""
        return self.put[number].pts // self.info.timecode_scale

    # --- what must hold -------------------------------------------------------------------------
    def check_account(self, account: FrameAccount, *, heard: bool) -> None:
        """The cheap part, at any time; `heard`: all events were taken."""
        if account.accepted != account.persisted + account.dropped + account.held:
            raise Broken(f"the books do not add up: {account}")
        if min(account) < 0:
            raise Broken(f"a negative count: {account}")
        if account.accepted + account.skipped != len(self.put) + len(self.rubbish):
            raise Broken(f"{len(self.put)} frames were put, the stream says {account}")
        if self.info.fragment_acks and account.persisted > self.stored:
            raise Broken(f"{account}, but the service has stored {self.stored}")
        if heard and self.info.fragment_acks and account.persisted != self.told_stored:
            raise Broken(f"{account}, but events say that {self.told_stored} frames are stored")
        if heard and (account.dropped, account.skipped) != (self.told_dropped, self.told_skipped):
            raise Broken(
                f"{account}, but told were {self.told_dropped} drops, {self.told_skipped} skips"
            )

    def check_stored_until(self, until: int | None) -> None:
        """Each frame up to that pts was stored by the service, or reported as dropped or skipped.

        Which frame an event means cannot always be seen, so as many as were reported may lack.
        """
        if until == self._stored_until or not (
            self.info.fragment_acks and self.info.frame_timecodes
        ):
            return
        self._stored_until = until
        if until is None:
            return
        self._pending = [put for put in self._pending if not put.stored]
        early = [put for put in self._pending if put.pts <= until and not put.moved]
        reported = self.told_dropped + self.told_skipped - len(self.rubbish)
        if len(early) > reported:
            raise Broken(
                f"stored_until is {until}, and {len(early)} frames before are not stored,"
                f" {reported} were reported: {early[0]}"
            )

    def check_end(self, account: FrameAccount) -> None:
        """Nothing is held any more: what is not stored must have been told."""
        if account.held:
            raise Broken(f"frames are still held: {account}")
        if self.info.fragment_acks:
            self._check_told()

    def check_offline(self) -> None:
        """An offline stream waits; it gives nothing up by itself."""
        if self.reasons["overflow"] or (self.reasons["unconfirmed"] and not self.emptied):
            raise Broken(f"an offline stream dropped frames: {self.reasons}")

    def check_all_stored(self) -> None:
        """There was room and time to send again whatever was lost."""
        missing = [number for number, put in self.put.items() if not put.stored]
        if len(missing) > self.told_skipped - len(self.rubbish):
            raise Broken(f"room for everything, and yet not stored: {missing[:5]} {self.reasons}")

    def _check_told(self) -> None:
        """Assign each missing frame to an event that covers it; times are cut to timecode units."""
        scale = self.info.timecode_scale
        if self.mistimed and self.info.frame_order_mode:
            # A frame that waits beside one with an early time is told with that one's: only the
            # numbers can be compared.
            lost = sum(not put.stored for put in self.put.values()) + len(self.rubbish)
            if lost > self.told_dropped + self.told_skipped:
                raise Broken(f"{lost} frames are not stored, and fewer are told as dropped")
            return
        missing = [(put.dts, number) for number, put in self.put.items() if not put.stored]
        missing = sorted(missing + [(dts, -1) for dts in self.rubbish])
        events = sorted(self.told)
        covering: list[list[int]] = []  # [last, count], the one that ends first on top
        position = 0
        for dts, number in missing:
            while position < len(events) and events[position][0] - scale < dts + scale:
                first_last_count = events[position]
                heappush(covering, [first_last_count[1], first_last_count[2]])
                position += 1
            while covering and (covering[0][0] + scale <= dts - scale or not covering[0][1]):
                heappop(covering)
            if not covering:
                raise Broken(f"frame {number} (dts {dts}) is neither stored nor told as dropped")
            covering[0][1] -= 1

    @property
    def dropped_but_stored(self) -> int:
        """How many frames were told as dropped, or skipped, although the service has them.

        Of a stream without acks nobody is told what is lost on the way: there it may be more.
        """
        missing = sum(not put.stored for put in self.put.values())
        told = self.told_dropped + self.told_skipped - len(self.rubbish)
        return max(told - missing, 0)
