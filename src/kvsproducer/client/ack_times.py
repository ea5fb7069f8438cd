"""Convert the timecode of an ack to ticks, and find the fragment that starts at that time.

Source: the service gives the timecode of the Cluster in whole milliseconds, rounded down, whatever
the stream's timecode scale is. AWS's client reads the number as timecode units instead. With the
usual scale of 1 ms both readings are the same. With another scale, a timecode is read as
milliseconds, unless a held fragment matches only if the number is read as timecode units. The first
ack that matches in exactly one of the two readings decides which one the stream uses. Units longer
than a millisecond are not tried for relative timecodes, because a late ack would be credited to a
later fragment.
"""

from __future__ import annotations

from kvsproducer.client.core import StreamCore
from kvsproducer.client.session import Upload
from kvsproducer.duration import TICKS_PER_MS

__all__ = ["AckTimes"]


class AckTimes:
    """Converts the timecodes of one stream's acks; times are in ticks."""

    __slots__ = ("_absolute", "_scale", "_units", "_view")

    def __init__(self, core: StreamCore) -> None:
        self._view = core.buffer.view
        self._absolute = core.info.absolute_fragment_times
        self._scale = scale = core.info.timecode_scale
        # The possible units of a timecode, the more likely one first.
        both = scale < TICKS_PER_MS or (scale > TICKS_PER_MS and self._absolute)
        self._units = (TICKS_PER_MS, scale) if both else (TICKS_PER_MS,)

    def span(self, upload: Upload, timecode: int) -> tuple[int, int]:
        """Return the earliest and latest possible start of a fragment with that timecode; ticks."""
        return self._span(upload, timecode, self._units[0])

    def _span(self, upload: Upload, timecode: int, unit: int) -> tuple[int, int]:
        first = timecode * unit + (0 if self._absolute else upload.session_start)
        return first, first if self._scale % unit == 0 else first + unit - 1

    def index(self, upload: Upload, timecode: int, lacking: int) -> int | None:
        """Return the index of the held item to which a timecode refers, or None if there is none.

        If one fragment starts at that time, the result is its first item. If several fragments
        start at that time, the result is the first item of the oldest one without the flags
        `lacking`. If none starts at that time, the result is the item whose frame is shown at it.
        """
        view, units = self._view, self._units
        # Only fragments that the upload sent. After a jump back others may start at the same time.
        given = (upload.first_index or 0, upload.last_fragment)
        start, end = self._span(upload, timecode, units[0])
        if start == end and len(units) == 1:  # the usual timecode scale
            index = view.fragment_at(start, lacking, *given)
            return view.item_at(start, *given) if index is None else index
        index = view.fragment_within(start, end, lacking, *given)
        if len(units) > 1:
            start, end = self._span(upload, timecode, units[1])
            other = view.fragment_within(start, end, lacking, *given)
            if (index is None) is not (other is None):
                self._units = units[:1] if other is None else units[1:]
            index = other if index is None else index
        for unit in self._units:
            if index is None:
                index = view.item_at(self._span(upload, timecode, unit)[0], *given)
        return index
