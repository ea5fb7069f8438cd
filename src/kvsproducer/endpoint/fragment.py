"""A fragment as the endpoint stores it, and the generator of fragment numbers.

A fragment is one Matroska Cluster with its metadata Tags. The producer's bytes are stored unchanged
in four parts, in the order in which GetMedia returns them:

- `header`: EBML header, Segment, Info, Tracks and everything else before the first Cluster
- `leading`: the Tags of this fragment that were sent before its Cluster
- `cluster`: the Cluster
- `trailing`: the Tags sent after it, up to the end-of-fragment tag

Times are in ticks (100 ns), instants since 1970-01-01 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FRAGMENT_NUMBER_DIGITS", "Fragment", "FragmentInfo", "FragmentNumbers"]

FRAGMENT_NUMBER_DIGITS: Final = 47
_BASE: Final = (
    9134385233318 * 10**34
)  # the digits with which all fragment numbers of the service begin
_TICK: Final = 10**13  # leaves 21 digits for the time and 13 for a counter within a tick


@dataclass(frozen=True, slots=True)
class FragmentInfo:
    """The fields of a fragment in the index.

    `number` always has 47 digits, so sorting as text sorts by number. `producer_timestamp` is the
    time of the Cluster, and `server_timestamp` is the time when the Cluster's first byte arrived.
    `duration` is the time from the first block to the end of the last one. If a track's blocks have
    no durations, their mean distance is used (0 for a single block). `size` is the number of bytes
    stored.
    """

    number: str
    producer_timestamp: int
    server_timestamp: int
    duration: int
    size: int


@dataclass(frozen=True, slots=True)
class Fragment:
    """A complete fragment: its fields in the index, and the producer's bytes."""

    info: FragmentInfo
    header: bytes
    leading: bytes
    cluster: bytes
    trailing: bytes

    @property
    def parts(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The parts in the order in which they are stored."""
        return self.header, self.leading, self.cluster, self.trailing

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """The lengths of the parts in bytes."""
        return len(self.header), len(self.leading), len(self.cluster), len(self.trailing)


class FragmentNumbers:
    """Generate the fragment numbers of one stream: 47 digits, always increasing.

    `last` is the highest number that the stream ever had, or "" if it had none. New numbers are
    always higher, so numbers increase across restarts, even if the clock was set back.
    """

    def __init__(self, last: str = "") -> None:
        self._last = int(last or "0")

    def next(self, now: int) -> str:
        """Return the number for a fragment that begins at `now` (ticks)."""
        self._last = max(self._last + 1, _BASE + now * _TICK)
        return f"{self._last:0{FRAGMENT_NUMBER_DIGITS}d}"
