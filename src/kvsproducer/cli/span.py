"""The length of the media in several fragments: from the first frame to the end of the last one.

The end of the last frame follows from its duration, but a SimpleBlock has none (RFC 9559, 5.1.3.5),
and producers write no other blocks. So the duration is the first of these that is known: the
block's duration, the track's DefaultDuration, the distance from the frame before. Of the last two
distances the shorter one is used, because there may be a pause before the last frame. If nothing is
known, as for a single frame, the duration is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvsproducer.reader import NS_PER_TICK, ReadFragment, ReadFrame

__all__ = ["Span"]


@dataclass(slots=True)
class _Newest:
    """The newest frame of a track: its time and duration in ticks; 0 is an unknown duration."""

    timestamp: int
    duration: int


@dataclass(slots=True)
class Span:
    """The time span of fragments, which may be added in any order and more than once."""

    first: int | None = None
    _newest: dict[int, _Newest] = field(default_factory=dict)

    def add(self, fragment: ReadFragment) -> None:
        """Extend the span by a fragment, which must have at least one frame."""
        default = {one.number: one.default_duration_ns // NS_PER_TICK for one in fragment.tracks}
        frames = sorted(fragment.frames, key=lambda frame: frame.timestamp)
        first = frames[0].timestamp
        self.first = first if self.first is None else min(first, self.first)
        for frame in frames:
            self._take(frame, default)

    @property
    def length(self) -> int:
        """The length of the span in ticks, 0 without a fragment."""
        ends = (newest.timestamp + newest.duration for newest in self._newest.values())
        return 0 if self.first is None else max(ends) - self.first

    def _take(self, frame: ReadFrame, default: Mapping[int, int]) -> None:
        duration = frame.duration or default.get(frame.track_number, 0)
        before = self._newest.get(frame.track_number)
        if before is None:
            self._newest[frame.track_number] = _Newest(frame.timestamp, duration)
        elif frame.timestamp > before.timestamp:
            distance = frame.timestamp - before.timestamp
            before.duration = duration or min(distance, before.duration or distance)
            before.timestamp = frame.timestamp
