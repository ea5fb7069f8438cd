"""Times of a live source: the wall-clock times at which its bytes arrive.

The times in a pipe are relative to a clock of its sender. `ArrivalClock` gives the first frame the
time at which its bytes arrived (not the time seconds later, when FFmpeg has probed the stream), and
the other frames keep their distances to it. At the start of each fragment it checks the smallest
lateness among the frames of the last second or more:

- Over 2 s late: the source stalled, or its clock is slow. The fragment starts at its arrival time.
- Over 50 ms early: the source's clock is fast. Times are moved back by 10 ms every 10 s, which is
  more than the error of a quartz clock. Each frame waits for its time, so no frame is put early.
  A recording that arrives faster than real time is slowed down to its own pace in the same way.
- The wall clock was set: times follow it, forwards or backwards.

Waiting and lateness use the monotonic clock. The wall clock is read once per fragment.

Raw H.264 and H.265 have no times: `ArrivalRate` counts pictures at the rate at which they arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.media import MediaPacket

__all__ = ["ArrivalClock", "ArrivalRate"]

_MAX_LATE: Final = 2 * TICKS_PER_SECOND  # our value, as are all of these
_MAX_EARLY: Final = 50 * TICKS_PER_MS
_WINDOW: Final = TICKS_PER_SECOND
_CLOCK_SET: Final = TICKS_PER_SECOND
_DRAW_BACK: Final = 10 * TICKS_PER_MS
_DRAW_BACK_EVERY: Final = 10 * TICKS_PER_SECOND
_FASTEST: Final = 4  # multiple of the stream's own rate; a faster source is a recording
_FOREVER: Final = 1 << 62


class ArrivalClock:
    """Convert media time to wall-clock time; the module describes how. All times are in ticks.

    `clock` returns the wall-clock time. `monotonic` returns the time of the clock that
    `MediaPacket.arrived` uses.
    """

    def __init__(self, clock: Callable[[], int], monotonic: Callable[[], int]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._offset = clock() - monotonic()  # from the monotonic clock to the wall clock
        self._shift: int | None = None  # from media time to wall-clock time
        self._last = 0  # the latest wall-clock time returned
        self._least = 0  # the lateness of the packets of the window, minimum
        self._window = 0  # when the window began
        self._drawn_back = 0  # when times were last moved back
        self._jumps = 0
        self.anchors = 0
        """How often the offset to the wall clock was corrected."""

    def shift(self, packet: MediaPacket, jumps: int) -> int:
        """Return the offset to add to the times of `packet`.

        `jumps` is the number of jumps of media time so far (`Timeline.jumps`).
        """
        assert packet.pts is not None
        assert packet.dts is not None
        arrived = self._monotonic() if packet.arrived is None else packet.arrived
        start = packet.pts - packet.lead
        if self._shift is None:
            self._shift = _whole_ms(arrived + self._offset - start)
            self._begin_window(arrived)
            self._drawn_back, self._jumps = arrived, jumps
        elif packet.key_frame:
            self._review(start, arrived, jumps)
        late = arrived + self._offset - packet.dts - self._shift
        self._least = min(self._least, late)
        self._last = max(self._last, packet.pts + self._shift)
        return self._shift

    def wait(self, time: int) -> int:
        """Return how long it is until wall-clock time `time`; 0 or less if that time has passed."""
        return time - (self._monotonic() + self._offset)

    def _begin_window(self, arrived: int) -> None:
        self._window, self._least = arrived, _FOREVER

    def _review(self, start: int, arrived: int, jumps: int) -> None:
        """Check the lateness; if needed, correct the offset for the fragment at `start`."""
        assert self._shift is not None
        shift = self._shift
        offset = self._clock() - self._monotonic()
        step = offset - self._offset
        self._offset = offset
        if abs(step) > _CLOCK_SET:
            self._last = 0 if step < 0 else self._last
            self._anchor(shift + step, start, arrived)
            return
        late = arrived + offset - start - shift
        if jumps != self._jumps:
            self._jumps = jumps
            if abs(late) > _MAX_LATE:
                self._anchor(shift + late, start, arrived)
            return
        if arrived - self._window < _WINDOW:
            return
        if self._least > _MAX_LATE:
            self._anchor(shift + self._least, start, arrived)
            return
        if self._least < -_MAX_EARLY and arrived - self._drawn_back >= _DRAW_BACK_EVERY:
            self._drawn_back = arrived
            earliest = self._last + TICKS_PER_MS - start
            self._shift = min(shift, _whole_ms(max(shift - _DRAW_BACK, earliest)))
        self._begin_window(arrived)

    def _anchor(self, shift: int, start: int, arrived: int) -> None:
        """Set the offset to `shift`, or to more if `start` would not be later than earlier frames.

        `start` is the media time at which a fragment begins. `arrived` is the arrival time of its
        first packet; a new window begins there.
        """
        self.anchors += 1
        self._shift = _whole_ms(max(shift, self._last + 2 * TICKS_PER_MS - start))
        self._begin_window(arrived)


def _whole_ms(ticks: int) -> int:
    return ticks // TICKS_PER_MS * TICKS_PER_MS


class ArrivalRate:
    """Compute times for pictures that have none, from the rate at which they arrive.

    The rate is measured over a second or more. `frame` is the duration of a picture in ticks, by
    the stream's own frame rate. It is used until a rate has been measured. Pictures that arrive
    more than 4 times as fast come from a recording in the pipe; then the rate is not changed.
    """

    def __init__(self, frame: int) -> None:
        self._nominal = self._frame = frame
        self._time: int | None = None
        self._count = 0  # pictures since the window began
        self._window = self._previous = (
            0  # arrival times of its first picture and of the latest one
        )
        self._longest = 0  # longest time between two arrivals in the window

    def set_times(self, packet: MediaPacket, arrived: int) -> None:
        """Set the times of `packet`, in ticks of the same clock as its arrival time `arrived`."""
        if self._time is None:
            self._time = self._window = self._previous = arrived
        else:
            self._time += self._frame
            self._count += 1
            self._longest = max(self._longest, arrived - self._previous)
            self._previous = arrived
            if self._count * self._nominal >= _WINDOW:
                self._adjust(self._time, arrived)
        packet.pts = packet.dts = self._time
        packet.duration = self._frame

    def _adjust(self, time: int, arrived: int) -> None:
        """Use the rate of the window that ends now, and correct the lateness of its pictures."""
        count, span = self._count, arrived - self._window
        stalled = self._longest > max(_WINDOW, span // 2)
        if stalled:
            self._time = max(time, arrived)
        elif span * _FASTEST >= count * self._nominal:
            self._frame = span // count
            if arrived > time:
                self._time = arrived
            else:
                self._frame = max(self._frame * 4 // 5, self._frame - (time - arrived) // count)
        self._count = self._longest = 0
        self._window = arrived
