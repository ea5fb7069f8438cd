"""Which frames continue a track's time, which are far off, and when a track's time has jumped.

The clocks of sources are set (NTP at boot: from 1970 to today) or start again (a camera reboots).
Some are wrong for a single frame (recorders that mix up two channels). A single frame cannot show
which of these happened. So a frame far from its neighbours is *held*: it is accepted, but kept back
until the frames after it decide.

* The next frame of the track continues the times from before the held frame. Then the held frame is
  an outlier. It gets a time between its neighbours, since pictures after it may depend on it.
* The next frames continue from the time of the held frame. After three frames in a row, the time
  has jumped, and all three are stored as they are.

A frame far *behind* its neighbours can be stored only in a new session, because the service
compares times within one connection. A session begins with a key frame. So a frame that is far
behind is held only if it is a key frame, or if its track already has held frames. Other such frames
are refused, but they count towards the three in a row.

"Far" means more than half a second, or more than eight times the usual step between two frames if
that is longer. While the usual step is unknown, 2 s back is far, and no step ahead is. A step ahead
is not far if as much time passed on our clock, because the source then paused.

In a stream with pictures, only the pictures drive the stream's time. Sound far ahead of them is
held for up to 5 s of media, because pictures may follow: after a pause of both tracks, sound comes
first. While no picture comes, sound is held until the video track counts as silent (`grace`, see
`present`). After that, sound drives the time.

`Timeline` makes these decisions. It gets all times as arguments and does not know the client. The
frames that it holds have been accepted. `due` contains the frames whose time has been decided; they
are stored before new frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from itertools import islice, pairwise
from typing import Final

from kvsproducer import limits
from kvsproducer.client.buffer.view import END_OF_FRAGMENT, ContentView
from kvsproducer.client.frame import FLAG_END_OF_FRAGMENT, FLAG_KEY, Frame
from kvsproducer.duration import TICKS_PER_SECOND, format_instant
from kvsproducer.status import InvalidFrame, KvsError, StatusCode, kvs_error

__all__ = ["Timeline", "Verdict", "check_instant", "misplaced_error", "with_time", "usual_step"]

_IN_A_ROW: Final = 3  # so many frames at a new time make it the stream's time
_FAR_STEPS: Final = 8
_UNKNOWN_STEP: Final = TICKS_PER_SECOND // 4
_FADE: Final = 8  # one part in so many of the longest step is forgotten with each frame


class Verdict(Enum):
    """What to do with a frame, depending on its time."""

    GO = "go"  # store it: its time is not far off
    HOLD = "hold"  # hold it until the next frames decide
    REFUSE = "refuse"  # far behind, or far ahead in a track that does not drive the stream's time
    # its track's held frames are outliers; give them times, decide on the frame again
    RETURN = "return"
    LEAVE = "leave"  # time jumped to its track's held frames; release them, decide again
    JUMP = "jump"  # third frame in a row: release the held frames and this one as they are


class _Line:
    """The times of one track, in ticks."""

    __slots__ = ("far_count", "far_dts", "far_since", "is_behind", "last", "longest", "steps")

    def __init__(self) -> None:
        # Only used when frames of several tracks are put in order; otherwise the view has it.
        self.last: int | None = None  # dts of the newest frame
        self.longest = 0  # longest step between two frames; it decays
        self.steps = 0
        # The frames in a row that are far off: their number, the last dts, and whether it is
        # behind.
        self.far_count = self.far_dts = 0
        self.is_behind = False
        # The dts of the first far-off frame since the last picture at the old time.
        self.far_since: int | None = None


class Timeline:
    """The times of one stream's tracks. The tracks in `leading` drive the stream's time."""

    __slots__ = ("_lines", "_scale", "due", "grace", "held", "leading")

    def __init__(self, leading: frozenset[int], scale: int) -> None:
        self.leading = leading
        self.grace = limits.TRACK_GRACE  # ticks without a frame after which a track is silent
        self._scale = scale  # ticks; the times of stored frames are rounded down to it
        self._lines: dict[int, _Line] = {}
        self.held: list[Frame] = []  # accepted, not decided on, in the order of the puts
        self.due: deque[Frame] = deque()  # accepted and decided on

    def __len__(self) -> int:
        return len(self.held) + len(self.due)

    @property
    def size_bytes(self) -> int:
        """Estimated number of bytes that the held frames will take in a store."""
        return sum(len(frame.data) + limits.ITEM_OVERHEAD_BYTES for frame in self.held)

    @property
    def undisturbed(self) -> bool:
        """True if no frame is held, due or far off; a frame that continues needs no decision."""
        return not (self.held or self.due or any(line.far_count for line in self._lines.values()))

    def line(self, track_id: int) -> _Line:
        """Return the times of a track."""
        line = self._lines.get(track_id)
        if line is None:
            line = self._lines[track_id] = _Line()
        return line

    # --- tracks that are put in order -----------------------------------------------------------
    def advance(self, track_id: int, dts: int, *, jump: bool = False) -> None:
        """Record the dts of the newest frame of a track.

        A `jump` does not count as a step between two frames.
        """
        line = self.line(track_id)
        if line.last is not None and line.last != dts and not jump:
            line.longest = max(dts - line.last, line.longest - line.longest // _FADE)
            line.steps += 1
        line.last = dts

    def near_leading(self, frame: Frame, last: int) -> bool:
        """Return whether a frame is close to another track that drives the stream's time.

        `last` is the dts of the previous frame in the frame's own track. The frame may be behind
        the other track, because frames may arrive late, but hardly ahead. It must also be closer to
        the other track than the previous frame was. Otherwise its track is moving away from the
        other track.
        """
        lines = (self._lines.get(track) for track in self.leading if track != frame.track_id)
        return any(
            line is not None
            and line.last is not None
            and not line.far_count
            and -limits.TRACK_GRACE
            <= frame.dts - line.last
            <= 2 * max(limits.FAR_TIMESTAMP, line.longest)
            and abs(frame.dts - line.last) < abs(last - line.last)
            for line in lines
        )

    def usual(self, track_id: int) -> int | None:
        """Return the usual step of a track in ticks, or None while it is unknown."""
        line = self.line(track_id)
        return line.longest if line.steps >= _IN_A_ROW else None

    def far(self, usual: int | None) -> int:
        """Return the distance in ticks beyond which a frame is far off.

        `usual` is the usual step of its track, None if it is unknown.
        """
        step = _UNKNOWN_STEP if usual is None else usual
        return max(limits.FAR_TIMESTAMP, _FAR_STEPS * step) + self._scale

    # --- judging --------------------------------------------------------------------------------
    def judge(self, frame: Frame, last: int, usual: int | None, elapsed: int) -> Verdict:
        """Decide what to do with a frame of a track whose newest frame has the dts `last`.

        `usual` is the usual step of the track. If it is None, no step ahead is too far. `elapsed`
        is the time in ticks that passed on our clock since the previous frame.
        """
        line = self.line(frame.track_id)
        far = self.far(usual)
        ahead = max(frame.pts, frame.dts) - last
        behind = last - frame.dts
        if line.far_count and line.far_dts <= frame.dts and (not line.is_behind or behind > 0):
            if line.far_count + 1 < _IN_A_ROW:
                return self._wait(line, frame)
            if line.far_since is None:
                line.far_since = frame.dts
            if frame.track_id in self.leading:
                return Verdict.JUMP
            return self._wait(line, frame) if self._may_be_early(line, frame) else Verdict.REFUSE
        off = behind > far or (usual is not None and ahead > far + elapsed)
        if line.far_count:
            first = self._first_held(frame.track_id)
            in_a_row, line.far_count = line.far_count >= _IN_A_ROW, 0
            if first is not None:
                # Neither this frame nor a picture continues at the old time.
                left = (
                    off and in_a_row and not line.is_behind and self._no_picture_since(line, first)
                )
                return Verdict.LEAVE if left else Verdict.RETURN
        if off:
            line.is_behind = behind > far
            return self._wait(line, frame)
        if frame.track_id in self.leading:
            for other in self._lines.values():
                other.far_since = None
        return Verdict.GO

    def _wait(self, line: _Line, frame: Frame) -> Verdict:
        """Count a far-off frame, and return HOLD, or REFUSE if it is behind and begins no session.

        A frame that is behind is also held if frames of its track are held already.
        """
        if not line.far_count:
            line.far_since = frame.dts
        line.far_count += 1
        line.far_dts = frame.dts
        begins = frame.track_id in self.leading and frame.flags & FLAG_KEY
        if line.is_behind and not begins and not self.holds(frame.track_id):
            return Verdict.REFUSE
        return Verdict.HOLD

    def _may_be_early(self, line: _Line, frame: Frame) -> bool:
        """Return whether pictures may still arrive whose time is near that of a sound frame.

        After a pause of both tracks, sound comes first, and some packets arrive before there are
        enough pictures to decide. While no picture comes, sound waits until the video track counts
        as silent.
        """
        first = self._first_held(frame.track_id)
        if line.is_behind or first is None:
            return False
        silent = self._no_picture_since(line, first)
        return frame.dts - first.dts <= (self.grace if silent else limits.TRACK_GRACE)

    def _first_held(self, track_id: int) -> Frame | None:
        return next((frame for frame in self.held if frame.track_id == track_id), None)

    @staticmethod
    def _no_picture_since(line: _Line, first: Frame) -> bool:
        """Return True if no picture has continued the old times since the first held frame.

        `first` is the first held frame. The old times are the times of the frames before it.
        """
        return line.far_since is not None and line.far_since <= first.dts

    def leading_time(self, last: int) -> int:
        """Return the dts of the newest frame in the tracks that drive the stream's time, or `last`.

        The later one of the two is returned.
        """
        lines = (self._lines.get(track_id) for track_id in self.leading)
        return max([last, *(line.last for line in lines if line and line.last is not None)])

    def forget_newest(self, frame: Frame) -> None:
        """Stop counting a far-off frame that could not be held, because the buffer has no space.

        The writer will put it again, and `judge` then decides on it anew.
        """
        self.line(frame.track_id).far_count -= 1

    def holds(self, track_id: int) -> bool:
        """Return whether a frame of a track is held."""
        return self._first_held(track_id) is not None

    # --- releasing held frames ------------------------------------------------------------------
    def correct(
        self, track_id: int, last: int, until: int, far: int
    ) -> Iterator[tuple[Frame, Frame]]:
        """Make the held frames of a track due, with times after `last` and up to `until`.

        If a frame's time lies between the two and nearer to `until`, the frame keeps it. The others
        are spread evenly over the time after `last`. They take at most `far` ticks, or as long as
        the held frames last, because time may have jumped to `until`. Yields each changed frame
        with its replacement.
        """
        frames = [frame for frame in self.held if frame.track_id == track_id]
        far = max(far, frames[-1].dts - frames[0].dts) if frames else far
        for place, frame in enumerate(frames):
            self.held.remove(frame)
            if last < frame.dts <= until and until - frame.dts < frame.dts - last:
                self.due.append(frame)
                last = frame.dts
                continue
            last += min(max(until - last, 0), far) // (len(frames) - place + 1)
            shown = frame.pts - frame.dts
            moved = Frame(
                frame.data,
                last + (shown if 0 <= shown <= far else 0),
                dts=last,
                duration=frame.duration,
                track_id=track_id,
                flags=frame.flags,
                lead=frame.lead,
            )
            self.due.append(moved)
            yield frame, moved

    def jump(self, frame: Frame) -> None:
        """Make the held frames near a frame due, in order of dts, because time has jumped there.

        All held frames of the frame's own track become due. Held frames of other tracks stay held
        if their times are elsewhere.
        """
        line = self.line(frame.track_id)
        near = [
            held
            for held in self.held
            if held.track_id == frame.track_id or abs(held.dts - frame.dts) <= limits.TRACK_GRACE
        ]
        for held in near:
            self.held.remove(held)
            other = self.line(held.track_id)
            other.far_count = 0
            other.last = None  # the jump does not count as a step between two frames
        line.far_count = 0
        self.due.extend(sorted(near, key=lambda held: held.dts))

    def end(self) -> None:
        """Make all held frames due as they are, because no later frame will decide on them."""
        self.due.extend(sorted(self.held, key=lambda held: held.dts))
        self.held.clear()
        for line in self._lines.values():
            line.far_count = 0

    def restart(self) -> None:
        """Forget the times of all tracks."""
        self._lines.clear()

    def take_all(self) -> list[Frame]:
        """Remove and return all waiting frames, which will not be stored."""
        for line in self._lines.values():
            line.far_count = 0
        frames = [*self.due, *self.held]
        self.due.clear()
        self.held.clear()
        return frames


def usual_step(view: ContentView, frames_per_s: float) -> int | None:
    """Return the usual time between two frames of a view in ticks, or None if it is unknown.

    Normally it is the mean step of the open fragment. If the fragment has only a few frames, it is
    the median of the newest steps, because one of these may be a jump. If there are too few steps,
    it is derived from the frame rate.
    """
    newest = view.newest
    if newest is not None and newest.flags & END_OF_FRAGMENT:
        newest = view.items.get(newest.index - 1)
    if newest is not None:
        start = view.items.get(newest.fragment)
        if start is not None and newest.index - newest.fragment >= _IN_A_ROW:
            return max(newest.timestamp - start.timestamp, 0) // (newest.index - start.index)
        indexes = range(view.head - 1, view.tail - 1, -1)
        frames = (view.items[i] for i in indexes if not view.items[i].flags & END_OF_FRAGMENT)
        times = [item.timestamp for item in islice(frames, _IN_A_ROW + 1)]
        if len(times) > _IN_A_ROW:
            steps = sorted(later - time for later, time in pairwise(times))
            return max(steps[len(steps) // 2], 0)
    return int(TICKS_PER_SECOND / frames_per_s) if frames_per_s else None


def with_time(frame: Frame, time: int) -> Frame:
    """Return a copy of a frame with `time` as both its pts and its dts."""
    if frame.flags & FLAG_END_OF_FRAGMENT:
        return frame
    return Frame(
        frame.data, time, duration=frame.duration, track_id=frame.track_id, flags=frame.flags
    )


def misplaced_error(stream: str, frame: Frame, last: int) -> KvsError:
    """Return the error for a frame that is refused because it is far from the frame before."""
    distance = (frame.dts - last) / TICKS_PER_SECOND
    where = f"{distance:.1f} s after" if distance > 0 else f"{-distance:.1f} s before"
    return kvs_error(
        StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP,
        f"dts {frame.dts} of track {frame.track_id} is {where} {last} of the frame put before; it"
        " is refused unless the next frames go on from there",
        stream=stream,
    )


# Unit, ticks in it as (numerator, denominator), and its time base.
_UNITS: Final = (
    ("seconds", 10_000_000, 1, "(1, 1)"),
    ("milliseconds", 10_000, 1, "(1, 1000)"),
    ("microseconds", 10, 1, "(1, 1_000_000)"),
    ("nanoseconds", 1, 100, "(1, 1_000_000_000)"),
)


def check_instant(stream: str, pts: int, wall: int) -> None:
    """Raise MKV_INVALID_FRAME_TIMESTAMP for an absolute time that is probably in a wrong unit.

    Such a time is before 2000, or more than a day ahead of `wall`, the wall-clock time. If the wall
    clock itself is before 2000, it was never set, and no time can be checked.
    """
    latest = wall + limits.FUTURE_INSTANT
    if wall < limits.EARLIEST_INSTANT or limits.EARLIEST_INSTANT <= pts <= latest:
        return
    if pts < latest:
        when = "before 2000-01-01"
        meant = (
            "It probably counts from the start of the recording or of the device: take base ="
            " kvs.now() once at the start and give pts=base + kvs.ticks(seconds since then), or"
            " open the stream with absolute_fragment_times=False"
        )
    else:
        when = "more than a day ahead of this machine's clock"
        meant = f"If it is right, this machine's clock is wrong (it says {format_instant(wall)})"
    for unit, above, below, base in _UNITS:
        if limits.EARLIEST_INSTANT <= pts * above // below <= latest:
            meant = f"It is probably in {unit}: give Frame(..., time_base={base})"
    raise InvalidFrame(
        StatusCode.MKV_INVALID_FRAME_TIMESTAMP,
        f"pts {pts} is {when}; times are ticks of 100 ns since 1970, as kvs.now() gives them."
        f" {meant}",
        stream=stream,
        action="Name the unit with Frame(..., time_base=...), or give ticks, which kvs.now() and"
        " kvs.ticks() make.",
    )
