"""A fragment as the endpoint keeps it, and the numbers that fragments get.

A fragment is one Matroska Cluster with the metadata Tags that belong to it. The producer's bytes
are kept verbatim in four parts, in the order in which GetMedia gives them back:
  header    EBML header, Segment, Info, Tracks and what else stood before the first Cluster
  leading   the Tags that describe this fragment, sent before its Cluster
  cluster   the Cluster
  trailing  the Tags sent after it, up to the end-of-fragment tag
Times are ticks (100 ns); instants count from 1970-01-01 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FRAGMENT_NUMBER_DIGITS", "Fragment", "FragmentInfo", "FragmentNumbers"]

FRAGMENT_NUMBER_DIGITS: Final = 47
_BASE: Final = 9134385233318 * 10**34  # the digits with which every number of the service begins
_TICK: Final = 10**13  # leaves 21 digits for the time and 13 to count within a tick


@dataclass(frozen=True, slots=True)
class FragmentInfo:
    """What the index knows about a fragment.

    `number` has 47 digits, so that text order is number order. `producer_timestamp` is the time of
    the Cluster, `server_timestamp` when its first byte came, `duration` the time that its blocks
    cover (0 when a single block does not tell), `size` all bytes kept.
    """

    number: str
    producer_timestamp: int
    server_timestamp: int
    duration: int
    size: int


@dataclass(frozen=True, slots=True)
class Fragment:
    """A whole fragment: what the index knows, and the producer's bytes."""

    info: FragmentInfo
    header: bytes
    leading: bytes
    cluster: bytes
    trailing: bytes

    @property
    def parts(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The bytes in stored order."""
        return self.header, self.leading, self.cluster, self.trailing

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """The lengths of the parts in bytes."""
        return len(self.header), len(self.leading), len(self.cluster), len(self.trailing)


class FragmentNumbers:
    """Gives the fragments of one stream their numbers: 47 digits, always growing.

    `last` is the highest number that the stream's store has ever seen, "" when there is none, so
    that numbers grow across restarts even if the clock steps back.
    """

    def __init__(self, last: str = "") -> None:
        self._last = int(last or "0")

    def next(self, now: int) -> str:
        """The number for a fragment that begins at `now` (ticks)."""
        self._last = max(self._last + 1, _BASE + now * _TICK)
        return f"{self._last:0{FRAGMENT_NUMBER_DIGITS}d}"
