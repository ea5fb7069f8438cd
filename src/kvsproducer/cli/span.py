"""How long the media of several fragments are: from the first frame to the end of the last one.

A SimpleBlock has no duration (RFC 9559, 5.1.3.5), and producers write no other block. What stands
for it, in this order: the block's own, the track's DefaultDuration, the distance to the frame
before it on its track. Of two such distances the shorter one counts, for a frame may come after a
pause. A lone frame that says nothing has no duration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvsproducer.reader import NS_PER_TICK, ReadFragment, ReadFrame

__all__ = ["Span"]


@dataclass(slots=True)
class _Newest:
    """The newest frame of a track: its time and duration in ticks; 0: not known."""

    timestamp: int
    duration: int


@dataclass(slots=True)
class Span:
    """Grows with each fragment; in any order, also of those that were sent twice."""

    first: int | None = None
    _newest: dict[int, _Newest] = field(default_factory=dict)

    def add(self, fragment: ReadFragment) -> None:
        """Take a fragment's frames into account; there is one at least."""
        default = {one.number: one.default_duration_ns // NS_PER_TICK for one in fragment.tracks}
        frames = sorted(fragment.frames, key=lambda frame: frame.timestamp)
        first = frames[0].timestamp
        self.first = first if self.first is None else min(first, self.first)
        for frame in frames:
            self._take(frame, default)

    @property
    def length(self) -> int:
        """In ticks."""
        ends = (newest.timestamp + newest.duration for newest in self._newest.values())
        return 0 if self.first is None else max(ends) - self.first

    def _take(self, frame: ReadFrame, default: Mapping[int, int]) -> None:
        said = frame.duration or default.get(frame.track_number, 0)
        before = self._newest.get(frame.track_number)
        if before is None:
            self._newest[frame.track_number] = _Newest(frame.timestamp, said)
        elif frame.timestamp > before.timestamp:
            distance = frame.timestamp - before.timestamp
            before.duration = said or min(distance, before.duration or distance)
            before.timestamp = frame.timestamp
