"""What the timecode of an ack means in ticks, and which fragment starts then.

Facts: the service gives the timecode of the Cluster in milliseconds, whatever the stream's timecode
scale, cut to whole ones; AWS's client takes it for timecode units. For the usual scale of 1 ms it
is the same. For others a timecode is read as milliseconds unless only timecode units name a
fragment that is held; the first ack that cannot be taken both ways settles it for the stream. Units
longer than a millisecond are not tried for relative timecodes: there a late ack would be credited
to a later fragment.
"""

from __future__ import annotations

from kvsproducer.client.core import StreamCore
from kvsproducer.client.session import Upload
from kvsproducer.duration import TICKS_PER_MS

__all__ = ["AckTimes"]


class AckTimes:
    """The timecodes of one stream's acks; times in ticks."""

    __slots__ = ("_absolute", "_scale", "_units", "_view")

    def __init__(self, core: StreamCore) -> None:
        self._view = core.buffer.view
        self._absolute = core.info.absolute_fragment_times
        self._scale = scale = core.info.timecode_scale
        # What a timecode may count, the likelier first.
        both = scale < TICKS_PER_MS or (scale > TICKS_PER_MS and self._absolute)
        self._units = (TICKS_PER_MS, scale) if both else (TICKS_PER_MS,)

    def span(self, upload: Upload, timecode: int) -> tuple[int, int]:
        """The first and the last time at which a fragment with that timecode may start."""
        return self._span(upload, timecode, self._units[0])

    def _span(self, upload: Upload, timecode: int, unit: int) -> tuple[int, int]:
        first = timecode * unit + (0 if self._absolute else upload.session_start)
        return first, first if self._scale % unit == 0 else first + unit - 1

    def index(self, upload: Upload, timecode: int, lacking: int) -> int | None:
        """The index of the item that a timecode names; None if it is not held.

        It is that of a fragment start, or of the item within a fragment that plays then. Of
        several fragments that start then, the oldest without one of the flags `lacking` is meant.
        """
        view, units = self._view, self._units
        # Those that the upload was given; after a jump back others may start at the same time.
        given = (upload.first_index or 0, upload.last_fragment)
        start, end = self._span(upload, timecode, units[0])
        if start == end and len(units) == 1:  # as at the usual timecode scale
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
