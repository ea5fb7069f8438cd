"""The content view: a window of packaged frames over the store, from the oldest to the newest.

Source: AWS's content view. Items have increasing indices with `tail <= current <= head`. `head` is
one past the newest item, and `current` is the next item to send. Appending, taking the next item
and dropping the oldest are O(1). A table finds fragments by their exact start time. (With a search
for the nearest time, an ack could be counted for the fragment before or after the right one.)

Durations count media only. Where timestamps jump, there is no media between two items: the source's
clock was set, or the source paused for longer than a fragment may last. Each item has the number of
ticks without media before it (`skipped`, negative after a jump back). `timestamp - skipped` is its
media time, which never decreases. If the window were measured by timestamps, setting the clock two
hours forward would make it two hours long, and full.

Invariants: Decoding timestamps do not decrease, except where a session starts (the service compares
times within one connection only). `size_bytes` and `unsent_bytes` are the sums over [tail, head)
and [current, head). The view drops no items on its own. When it is `full`, its owner decides what
to drop, because the owner knows what was sent and acknowledged. The view does not interpret the
bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.status import StatusCode, kvs_error

__all__ = [
    "BUFFERING",
    "END_OF_FRAGMENT",
    "FRAGMENT_START",
    "PERSISTED",
    "RECEIVED",
    "SKIP",
    "STREAM_START",
    "ContentView",
    "ViewItem",
    "mark_at",
]

# Item flags, with AWS's values.
STREAM_START: Final = 1  # its header begins with a stream header
FRAGMENT_START: Final = 2
BUFFERING: Final = 4  # ack of its fragment
RECEIVED: Final = 8
END_OF_FRAGMENT: Final = 16  # the end-of-fragment tag, not a frame
PERSISTED: Final = 32
SKIP: Final = 64  # the service refused it: never sent (again)


class ViewItem:
    """A packaged frame: `header` bytes, then `payload` buffers; `length` is the size of both.

    `timestamp` (dts), `ack_timestamp` (pts, used by acks) and `duration` are in ticks, in whole
    timecode units. `pts` is the presentation time with which the frame was put. `put_at` is when a
    fragment's first frame was appended, in ticks of the core's clock. The first `prefix_length`
    bytes of the header are a stream header. `fragment` is the index of the item that starts its
    fragment. `charge` is the number of bytes charged to the store for it. `skipped` is the number
    of ticks without media between the very first item and this one.
    """

    __slots__ = (
        "ack_timestamp",
        "charge",
        "duration",
        "flags",
        "fragment",
        "header",
        "index",
        "length",
        "payload",
        "prefix_length",
        "pts",
        "put_at",
        "skipped",
        "timestamp",
    )

    index: int
    fragment: int
    skipped: int
    put_at: int

    def __init__(
        self,
        timestamp: int,
        ack_timestamp: int,
        duration: int,
        flags: int,
        header: bytes,
        prefix_length: int,
        payload: Sequence[bytes | memoryview],
        length: int,
        charge: int,
        pts: int,
    ) -> None:
        self.timestamp = timestamp
        self.ack_timestamp = ack_timestamp
        self.duration = duration
        self.flags = flags
        self.header = header
        self.prefix_length = prefix_length
        self.payload = payload
        self.length = length
        self.charge = charge
        self.pts = pts
        # `ContentView.append` sets `index`, `fragment` and `skipped`; `Buffer` sets `put_at`.

    @property
    def media_time(self) -> int:
        """The decoding time on a time line without jumps, in ticks."""
        return self.timestamp - self.skipped


def mark_at(item: ViewItem, data: bytes) -> ViewItem:
    """Return an end-of-fragment mark to send in place of an item; the view does not contain it."""
    times = item.timestamp, item.ack_timestamp, 0
    mark = ViewItem(*times, END_OF_FRAGMENT, data, 0, (), len(data), 0, item.pts)
    mark.index = mark.fragment = item.index
    mark.skipped = item.skipped
    return mark


class ContentView:
    """The window of a stream's items. `capacity` is in items, `duration` in ticks.

    Raises MIN_CONTENT_VIEW_ITEMS for a capacity of 10 or less, and INVALID_CONTENT_VIEW_DURATION
    for a duration of 0.
    """

    __slots__ = (
        "_starts",
        "_times",
        "capacity",
        "current",
        "duration",
        "end_time",
        "head",
        "items",
        "line",
        "line_start",
        "marks_end",
        "newest",
        "size_bytes",
        "start_time",
        "tail",
        "unsent_bytes",
    )

    def __init__(self, capacity: int, duration: int) -> None:
        if capacity <= limits.MIN_VIEW_ITEMS:
            raise kvs_error(
                StatusCode.MIN_CONTENT_VIEW_ITEMS,
                f"buffer_duration and the frame rate give a buffer of {capacity} frames; "
                f"more than {limits.MIN_VIEW_ITEMS} are needed",
            )
        if duration <= limits.MIN_VIEW_DURATION:
            raise kvs_error(
                StatusCode.INVALID_CONTENT_VIEW_DURATION,
                f"buffer_duration is {duration / TICKS_PER_SECOND:g} s, too short to hold frames",
            )
        self.capacity = capacity
        self.duration = duration
        self.tail = self.current = self.head = 0
        self.size_bytes = self.unsent_bytes = 0
        # Start and end of the window, as ack timestamps minus skipped ticks.
        self.start_time = self.end_time = 0
        # Each jump back in time begins a new time line, which starts at the item `line_start`.
        self.line = self.line_start = 0
        # one past the newest end-of-fragment mark; all items after it are frames
        self.marks_end = 0
        self.newest: ViewItem | None = None  # the last item appended, even if it was removed
        self.items: dict[int, ViewItem] = {}  # by index; others may read it
        self._starts: list[int] = []  # indices of fragment starts, ascending
        self._times: dict[int, list[int]] = {}  # ack timestamp of a fragment start -> indices

    def __len__(self) -> int:
        return self.head - self.tail

    def __getitem__(self, index: int) -> ViewItem:
        """Return the item at `index`; raise CONTENT_VIEW_INVALID_INDEX outside [tail, head)."""
        item = self.items.get(index)
        if item is None:
            raise kvs_error(
                StatusCode.CONTENT_VIEW_INVALID_INDEX,
                f"index {index} is not within {self.tail} to {self.head}",
            )
        return item

    # --- durations ------------------------------------------------------------------------------
    @property
    def window_duration(self) -> int:
        """Duration in ticks of all media: from the oldest item to the end of the newest."""
        return self.end_time - self.start_time if self.head > self.tail else 0

    @property
    def unsent_duration(self) -> int:
        """Duration in ticks of the media that was not yet sent.

        It extends from the start of the first unsent item to the end of the newest item.
        """
        item = self.items.get(self.current)
        return 0 if item is None else self.end_time - item.ack_timestamp + item.skipped

    def media_between(self, first: int, last: int) -> int:
        """Return the ticks of media between the items with the indices `first` and `last`."""
        early, late = self.items[first], self.items[last]
        return late.ack_timestamp - late.skipped - early.ack_timestamp + early.skipped

    @property
    def full(self) -> bool:
        """True if the window has no space for another item, by count or by duration."""
        return self.head - self.tail >= self.capacity or self.window_duration >= self.duration

    # --- changing the window --------------------------------------------------------------------
    def append(self, item: ViewItem, *, jump: bool = False) -> None:
        """Add a new item. `jump` means that there is no media between it and the item before.

        Raises INVALID_CONTENT_VIEW_LENGTH for an empty item. Raises CONTENT_VIEW_INVALID_TIMESTAMP
        if its dts is before that of the newest item and it does not start a session. If it raises,
        nothing changes.
        """
        newest = self.newest
        length = item.length
        if length <= 0:
            raise kvs_error(
                StatusCode.INVALID_CONTENT_VIEW_LENGTH,
                f"the frame has {length} bytes; a frame has at least 1",
            )
        item.skipped = 0
        if newest is not None:
            step = item.timestamp - newest.timestamp
            if step < 0 and not item.flags & STREAM_START:
                raise kvs_error(
                    StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP,
                    f"the frame's dts {item.timestamp} is before {newest.timestamp}, "
                    "the dts of the frame put before",
                )
            item.skipped = newest.skipped
            if step < 0:
                self.line += 1
                self.line_start = self.head
            if jump or step < 0 or step > limits.SERVICE_MAX_FRAGMENT_DURATION:
                item.skipped += step - newest.duration
        index = self.head
        item.index = index
        if item.flags & FRAGMENT_START:
            item.fragment = index
            self._starts.append(index)
            self._times.setdefault(item.ack_timestamp, []).append(index)
        else:
            item.fragment = index if newest is None else newest.fragment
        if item.flags & END_OF_FRAGMENT:
            self.marks_end = index + 1
        if index == self.tail:
            self.start_time = item.ack_timestamp - item.skipped
        self.end_time = item.ack_timestamp + item.duration - item.skipped
        self.items[index] = item
        self.newest = item
        self.head = index + 1
        self.size_bytes += length
        self.unsent_bytes += length

    def append_mark(self, data: bytes, charge: int) -> None:
        """Add an end-of-fragment mark with the decoding time of the newest item.

        The end time of that item is not used. Durations may be longer than the time between frames,
        so the next frame could be before that end time and would be refused.
        """
        newest = self.newest
        assert newest is not None, "the view is not empty"
        times = newest.timestamp, newest.ack_timestamp + newest.duration, 0
        self.append(ViewItem(*times, END_OF_FRAGMENT, data, 0, (), len(data), charge, newest.pts))

    def take(self) -> ViewItem | None:
        """Return the next item to send and move past it; return None if there is none."""
        item = self.items.get(self.current)
        if item is not None:
            self.current += 1
            self.unsent_bytes -= item.length
        return item

    def drop_tail(self) -> ViewItem:
        """Remove and return the oldest item; raise CONTENT_VIEW_NO_MORE_ITEMS if there is none."""
        item = self.items.pop(self.tail, None)
        if item is None:
            raise kvs_error(StatusCode.CONTENT_VIEW_NO_MORE_ITEMS, "the view is empty")
        if self.current == self.tail:
            self.current += 1
            self.unsent_bytes -= item.length
        self.tail += 1
        self.size_bytes -= item.length
        oldest = self.items.get(self.tail)
        if oldest is not None:
            self.start_time = oldest.ack_timestamp - oldest.skipped
        if item.flags & FRAGMENT_START:
            self._forget_start(item)
        return item

    def trim(self, to: int) -> int:
        """Remove the items before `to`, all of which were sent; return the sum of their charges."""
        assert to <= self.current, "only what was sent is trimmed"
        items, tail, starts = self.items, self.tail, self._starts
        charge = size = 0
        while starts and starts[0] < to:
            self._forget_start(items[starts[0]])
        pop = items.pop
        for index in range(tail, to):
            item = pop(index)
            charge += item.charge
            size += item.length
        self.size_bytes -= size
        self.tail = max(to, tail)
        oldest = items.get(self.tail)
        if oldest is not None:
            self.start_time = oldest.ack_timestamp - oldest.skipped
        return charge

    def clear(self) -> None:
        """Remove all items, sent or not."""
        self.items.clear()
        self._starts.clear()
        self._times.clear()
        self.tail = self.current = self.head
        self.size_bytes = self.unsent_bytes = 0

    def _forget_start(self, item: ViewItem) -> None:
        del self._starts[0]
        indices = self._times[item.ack_timestamp]
        indices.remove(item.index)
        if not indices:
            del self._times[item.ack_timestamp]

    def times_without(self, start: int, end: int, flags: int) -> list[int]:
        """Return the pts of those items in [start, end) that have none of the given flags."""
        items = self.items
        return [item.pts for i in range(start, end) if not (item := items[i]).flags & flags]

    def rewind(self, index: int) -> None:
        """Make `index` the next item to send; raise CONTENT_VIEW_INVALID_INDEX beyond the head."""
        if not self.tail <= index <= self.head:
            raise kvs_error(
                StatusCode.CONTENT_VIEW_INVALID_INDEX,
                f"index {index} is not within {self.tail} to {self.head}",
            )
        self.current = index
        items = self.items
        self.unsent_bytes = sum(items[i].length for i in range(index, self.head))

    def change_header(self, item: ViewItem, header: bytes, prefix: int, flags: int) -> None:
        """Replace the header of an item in the view, with its prefix length and its flags."""
        change = len(header) - len(item.header)
        item.header, item.prefix_length, item.flags = header, prefix, flags
        item.length += change
        self.size_bytes += change
        if item.index >= self.current:
            self.unsent_bytes += change

    # --- fragments ------------------------------------------------------------------------------
    def fragment_at(
        self, ack_timestamp: int, lacking: int = 0, first: int = 0, last: int | None = None
    ) -> int | None:
        """Return the index of the fragment that starts exactly at `ack_timestamp` (ticks), or None.

        After a jump back in time, several fragments may start at that time. `first` and `last` are
        the first and the last fragment that one upload sent; fragments between them are preferred.
        Of several, the oldest one without any of the flags `lacking` is returned. If all have one
        of these flags, the newest is returned.
        """
        indices = self._times.get(ack_timestamp)
        if indices is None:
            return None
        if len(indices) > 1 and last is not None:
            given = [index for index in indices if first <= index <= last]
            indices = given or indices
        for index in indices:
            if not self.items[index].flags & lacking:
                return index
        return indices[-1]

    def fragment_within(
        self,
        start: int,
        end: int,
        lacking: int = 0,
        first: int = 0,
        last: int | None = None,
    ) -> int | None:
        """Return the index of a fragment that starts at any time from `start` to `end`, or None.

        The times are in ticks. The other arguments are those of `fragment_at`.
        """
        if start == end:
            return self.fragment_at(start, lacking, first, last)
        for time in self._times:
            if start <= time <= end:
                return self.fragment_at(time, lacking, first, last)
        return None

    def item_at(self, ack_timestamp: int, first: int = 0, last: int | None = None) -> int | None:
        """Return the index of the item that plays at `ack_timestamp`, or of the last one before it.

        Only items of the fragment that contains the time are considered. Return None if the time is
        outside the searched fragments. For the start time of a fragment, use `fragment_at`.

        `first` and `last` are the indices of the first and of the last fragment start to search.
        They must belong to one session, because start times are only sure to increase within a
        session.
        """
        starts, items = self._starts, self.items
        low = bisect_left(starts, first)
        high = len(starts) if last is None else bisect_right(starts, last)
        if low == 0 and first <= self.tail:
            begin = self.tail  # may be within a fragment whose start was removed
        elif low < high:
            begin = starts[low]
        else:
            return None
        end = starts[high] if high < len(starts) else self.head
        if begin >= end:
            return None
        newest = items[end - 1]
        if (
            not items[begin].ack_timestamp
            <= ack_timestamp
            <= newest.ack_timestamp + newest.duration
        ):
            return None
        position = bisect_right(
            starts, ack_timestamp, low, high, key=lambda index: items[index].ack_timestamp
        )
        best = starts[position - 1] if position > low else begin
        for index in range(best, starts[position] if position < high else end):
            # Not sorted: with B-frames, presentation times are not in order within a fragment.
            if items[best].ack_timestamp <= items[index].ack_timestamp <= ack_timestamp:
                best = index
        return best

    def last_before(self, media_time: int, end: int) -> ViewItem | None:
        """Return the last item before index `end` whose media time is earlier, or None."""
        items, tail = self.items, self.tail
        later = bisect_left(range(tail, end), media_time, key=lambda index: items[index].media_time)
        return items[tail + later - 1] if later else None

    def last_flagged(self, flag: int, end: int) -> ViewItem | None:
        """Return the last item before index `end` that has the flag, or None."""
        for index in range(end - 1, self.tail - 1, -1):
            if self.items[index].flags & flag:
                return self.items[index]
        return None

    def line_of(self, index: int) -> int:
        """Return the number of an item's time line: the newest time line, or the one before it."""
        return self.line if index >= self.line_start else self.line - 1

    def next_start(self, index: int) -> int:
        """Return the index of the first fragment start at or after `index`, or `head`."""
        position = bisect_left(self._starts, index)
        return self._starts[position] if position < len(self._starts) else self.head

    def start_of(self, index: int) -> int:
        """Return the index of the first item of the fragment that contains the item `index`.

        If that first item was removed, return `tail`.
        """
        position = bisect_right(self._starts, index)
        return self._starts[position - 1] if position else self.tail
