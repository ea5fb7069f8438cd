"""The clock of a simulated source: it is set forward and back, and is wrong for single frames.

A camera gives frames with even times; `SourceClock.stamp` gives them the times that the source
shows. Between two faults it lets some frames pass, so that each fault can be told from the other.
`Silences` says when a track has no frames for a while, as one whose microphone is switched off.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kvsproducer.client import Frame
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND

__all__ = ["Silences", "SourceClock", "Stamped"]

_APART: Final = 24  # frames between two faults
_SECONDS: Final = (2, 40, 3600)


@dataclass(frozen=True, slots=True)
class Stamped:
    """A frame as it is put; `moved` ticks of its times are an error of this frame alone."""

    frame: Frame
    moved: int = 0
    fault: str = ""


class SourceClock:
    """Stamps the frames of one source; `jumps` and `outliers` are probabilities, of a frame."""

    def __init__(
        self, dice: random.Random, jumps: float, outliers: float, *, interval: int
    ) -> None:
        self._dice = dice
        self._jumps = jumps
        self._outliers = outliers
        self._interval = interval
        self.wrong = bool(jumps or outliers)  # at some time
        self._offset = 0  # ticks that the source's clock is off by
        self._since = 0  # frames since the last fault

    def stamp(self, frame: Frame) -> Stamped:
        """Give a frame the time that the source's clock shows for it."""
        if not (self._jumps or self._outliers or self._offset):
            return Stamped(frame)
        self._since += 1
        moved, fault = 0, ""
        if self._since > _APART:
            if self._dice.random() < self._jumps:
                self._offset += self._error()
                self._since, fault = 0, "time jump"
            elif self._dice.random() < self._outliers:
                moved = self._error()
                self._since, fault = 0, "outlier"
        return Stamped(_shifted(frame, self._offset + moved), moved, fault)

    def set_right(self) -> None:
        """Make no more errors; the clock stays where it is."""
        self._jumps = self._outliers = 0.0

    def _error(self) -> int:
        """Return an error in ticks that is large enough to be one."""
        dice = self._dice
        ticks = dice.choice(_SECONDS) * TICKS_PER_SECOND + dice.randrange(1000) * TICKS_PER_MS
        return dice.choice((-1, 1)) * (ticks + 10 * self._interval)


class Silences:
    """When the tracks of one source have no frames; `rate` is a probability, of a frame."""

    def __init__(self, dice: random.Random, rate: float, tracks: Sequence[int]) -> None:
        self._dice = dice
        self._rate = rate if len(tracks) > 1 else 0.0
        self._tracks = tracks
        self._track = self._until = self._since = 0
        self.possible = self._rate > 0

    def begin(self, dts: int) -> bool:
        """Let a track fall silent, perhaps, before a frame of that time; whether it does."""
        if not self._rate or dts < self._until or self._dice.random() >= self._rate:
            return False
        self._track = self._dice.choice(self._tracks)
        self._since = dts
        self._until = dts + self._dice.choice((2, 8, 30)) * TICKS_PER_SECOND
        return True

    def lasted(self, dts: int) -> tuple[int, int]:
        """Return the track that is silent, and the ticks since then; (0, 0) for none."""
        return (self._track, dts - self._since) if dts < self._until else (0, 0)

    def silent(self, frame: Frame) -> bool:
        """Whether a frame does not exist, as its track is silent."""
        return frame.track_id == self._track and frame.dts < self._until

    def end(self) -> None:
        """Let all tracks have frames from now on."""
        self._rate = 0.0
        self._until = 0


def _shifted(frame: Frame, ticks: int) -> Frame:
    return Frame(
        frame.data,
        frame.pts + ticks,
        dts=frame.dts + ticks,
        duration=frame.duration,
        track_id=frame.track_id,
        flags=frame.flags,
    )
