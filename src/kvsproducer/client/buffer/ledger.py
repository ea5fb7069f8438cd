"""What became of the frames: the accounts behind the promise that none is lost silently.

`accepted == persisted + dropped + held` at every moment. A frame is *settled* once it counts as
persisted or dropped; items are settled in order, so one index divides the books. Frames that were
sent but leave the view (for want of room) before their ack came are *in doubt*: they are held
until the ack comes (persisted) or the connection is lost (dropped, reason UNCONFIRMED). Frames
skipped until a key frame were never accepted; they only count as skipped.

Without acks, a frame that was sent counts as persisted: nothing better is ever known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from kvsproducer.client.buffer.view import (
    END_OF_FRAGMENT,
    FRAGMENT_START,
    PERSISTED,
    SKIP,
    ContentView,
    ViewItem,
)
from kvsproducer.client.events import DropReason

__all__ = ["FrameAccount", "Ledger"]

_NO_FRAME = SKIP | END_OF_FRAGMENT


class FrameAccount(NamedTuple):
    """Counts of frames; `accepted == persisted + dropped + held`, `skipped` were not accepted."""

    accepted: int
    persisted: int
    dropped: int
    skipped: int
    held: int


@dataclass(slots=True)
class _Doubt:
    """Frames of one fragment that were sent and have left the view."""

    fragment: int  # ack timestamp of the fragment's start, ticks
    first: int  # dts, ticks
    last: int
    count: int
    next_index: int  # of the item that would continue it


class Ledger:
    """The books of one stream. `report(first, last, count, reason)` is called for drops."""

    __slots__ = (
        "_doubts",
        "_fragment",
        "_report",
        "_skipped_end",
        "accepted",
        "dropped",
        "persisted",
        "refused",
        "settled",
        "skipped",
        "unconfirmed",
    )

    def __init__(self, report: Callable[[int, int, int, DropReason], None]) -> None:
        self.accepted = self.persisted = self.dropped = self.skipped = self.refused = 0
        self.settled = 0  # items below this index are settled
        self.unconfirmed = 0  # items below it need an ack of their own: they were not sent again
        self._doubts: deque[_Doubt] = deque()
        self._fragment = 0
        self._skipped_end = 0  # one past the newest item that is marked SKIP
        self._report = report

    def account(self) -> FrameAccount:
        """The books now."""
        return FrameAccount(self.accepted, self.persisted, self.dropped, self.skipped, self.held)

    @property
    def held(self) -> int:
        """How many frames are neither known to be stored nor dropped."""
        return self.accepted - self.persisted - self.dropped

    def drop(self, first: int, last: int, count: int, reason: DropReason) -> None:
        """Count and report `count` accepted frames with dts from `first` to `last` as dropped."""
        self._report(first, last, count, reason)
        self.dropped += count

    def confirm(self, view: ContentView, end: int, final: int = PERSISTED) -> None:
        """The service has everything of the session up to item `end`: settle it.

        Items that were not sent again after a lost connection, and whose own fragment was never
        acknowledged with one of the flags `final`, are dropped as unconfirmed.
        """
        start = max(self.settled, view.tail)
        if end <= start:
            return
        if start < self.unconfirmed:
            start = self._confirm_old(view, start, min(end, self.unconfirmed), final)
        if start >= view.marks_end and start >= self._skipped_end:  # nearly always
            self.persisted += max(end - start, 0)
        else:
            self.persisted += view.count_without(start, end, _NO_FRAME)
        self.settled = end

    def _confirm_old(self, view: ContentView, start: int, end: int, final: int) -> int:
        persisted = bool(view[view.start_of(start)].flags & final)
        for index in range(start, end):
            item = view[index]
            if item.flags & FRAGMENT_START:
                persisted = bool(item.flags & final)
            if item.flags & _NO_FRAME:
                continue
            if persisted:
                self.persisted += 1
            else:
                self.drop(item.timestamp, item.timestamp, 1, DropReason.UNCONFIRMED)
        return end

    def evict(self, item: ViewItem, *, sent: bool, lost: bool) -> None:
        """An item leaves the view for want of room: a drop if it was never sent, else a doubt.

        `lost`: the connection that it was sent on is gone, and it was not sent again.
        """
        if item.flags & FRAGMENT_START:
            self._fragment = item.ack_timestamp
        if item.index < self.settled:
            return
        if not item.flags & _NO_FRAME:
            if not sent:
                self.drop(item.timestamp, item.timestamp, 1, DropReason.OVERFLOW)
            elif lost or item.index < self.unconfirmed:
                self.drop(item.timestamp, item.timestamp, 1, DropReason.UNCONFIRMED)
            else:
                self._doubt(item)
        self.settled = item.index + 1

    def _doubt(self, item: ViewItem) -> None:
        newest = self._doubts[-1] if self._doubts else None
        if (
            newest is not None
            and newest.fragment == self._fragment
            and newest.next_index == item.index
        ):
            newest.last = item.timestamp
            newest.count += 1
            newest.next_index += 1
        else:
            time = item.timestamp
            self._doubts.append(_Doubt(self._fragment, time, time, 1, item.index + 1))

    def refuse(self, item: ViewItem, reason: DropReason = DropReason.REFUSED) -> None:
        """The item will never be sent (again): the service refused it, or the `reason`."""
        if not item.flags & SKIP:
            self.refused += 1
        if not item.flags & _NO_FRAME and item.index >= self.settled:
            self.drop(item.timestamp, item.timestamp, 1, reason)
        item.flags |= SKIP
        self._skipped_end = max(self._skipped_end, item.index + 1)

    def store(self, view: ContentView, start: int, end: int) -> None:
        """Items of [start, end) are stored, before others that were sent earlier.

        They count as persisted and are marked SKIP, so that they are not sent again.
        """
        for index in range(max(start, self.settled, view.tail), end):
            item = view[index]
            if not item.flags & _NO_FRAME:
                self.persisted += 1
            item.flags |= SKIP
        self._skipped_end = max(self._skipped_end, end)

    @property
    def evicted_fragment(self) -> int:
        """The ack timestamp of the last fragment start that left the view for want of room."""
        return self._fragment

    def clear_doubts(self, fragment: int, since: int = 0, wire: int | None = None) -> None:
        """Fragments that have left the view up to the one that starts at `fragment` are stored.

        Items before index `since` are not meant: they wait for the acks of another connection. Nor
        is what goes with item `wire`, which is still being handed out.
        """
        doubts, others = self._doubts, []
        while doubts and doubts[0].fragment <= fragment:
            doubt = doubts.popleft()
            if doubt.next_index - doubt.count < since or doubt.next_index - 1 == wire:
                others.append(doubt)
            else:
                self.persisted += doubt.count
        doubts.extendleft(reversed(others))

    def lose_doubts(self) -> None:
        """Drop the frames that left the view unacknowledged: their connection is lost."""
        while self._doubts:
            doubt = self._doubts.popleft()
            self.drop(doubt.first, doubt.last, doubt.count, DropReason.UNCONFIRMED)

    def drop_held(self, view: ContentView, first: int, last: int, reason: DropReason) -> None:
        """Drop all frames that are held, with dts from `first` to `last`, whatever the items say.

        For a stream whose items and books may not agree any more.
        """
        self._doubts.clear()
        self.settled = view.head
        if self.held:
            self.drop(first, last, self.held, reason)

    def abandon(self, view: ContentView, reason: DropReason) -> None:
        """Settle everything in the view as dropped: it is about to be emptied.

        Frames that were sent are unconfirmed, the others have the `reason`.
        """
        self.lose_doubts()
        for index in range(max(self.settled, view.tail), view.head):
            item = view[index]
            if not item.flags & _NO_FRAME:
                sent = index < view.current
                self.drop(
                    item.timestamp, item.timestamp, 1, DropReason.UNCONFIRMED if sent else reason
                )
        self.settled = view.head
