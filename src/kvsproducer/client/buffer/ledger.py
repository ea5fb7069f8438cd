"""The accounts of a stream's frames, which ensure that each lost frame is reported.

`accepted == persisted + dropped + held` holds at any time. A frame is *settled* once it counts as
persisted or dropped. Items are settled in order, so a single index separates settled items from
others. If space is short, frames may leave the view after they were sent, before their ack arrives.
Such frames are *unacknowledged*: they count as held until the ack comes (persisted) or the
connection is lost (dropped, reason UNCONFIRMED). Frames that are skipped until a key frame were
never accepted, and count only as skipped.

In a stream without acks, a frame counts as persisted once it was sent, because the service does not
report more.

`reached` is the latest settled pts. Together with the earliest held pts, it gives the media time up
to which all frames are settled. After a jump back in time, `reached` starts over on the new time
line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
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

__all__ = ["FrameAccount", "Ledger", "Stored"]

_NO_FRAME = SKIP | END_OF_FRAGMENT


class FrameAccount(NamedTuple):
    """Counts of frames: `accepted == persisted + dropped + held`.

    Frames that count as `skipped` were not accepted.
    """

    accepted: int
    persisted: int
    dropped: int
    skipped: int
    held: int


class Stored(NamedTuple):
    """Frames of one fragment that the service has stored; times in ticks."""

    fragment: int  # ack timestamp of the fragment's start
    first_pts: int
    last_pts: int
    frames: int
    put_at: int  # when the first frame of the fragment was appended


@dataclass(slots=True)
class _Unacked:
    """Frames of one fragment that were sent and have left the view before their ack came."""

    fragment: int  # ack timestamp of the fragment's start, ticks
    first: int  # dts, ticks
    last: int
    count: int
    next_index: int  # index of the item that would continue this group
    earliest: int  # pts, ticks
    latest: int
    line: int  # number of its time line
    put_at: int


class Ledger:
    """The accounts of one stream. Drops are passed to `report(first, last, count, reason)`."""

    __slots__ = (
        "_fragment",
        "_line",
        "_put_at",
        "_report",
        "_skipped_end",
        "_stored_since_loss",
        "_unacked",
        "accepted",
        "dropped",
        "lost_pts",
        "persisted",
        "reached",
        "refused",
        "settled",
        "skipped",
        "stored",
        "unconfirmed",
    )

    def __init__(self, report: Callable[[int, int, int, DropReason], None]) -> None:
        self.accepted = self.persisted = self.dropped = self.skipped = self.refused = 0
        self.settled = 0  # items below this index are settled
        # items below it were not sent again, so each fragment needs its own ack
        self.unconfirmed = 0
        self._unacked: deque[_Unacked] = deque()
        self._fragment = self._put_at = 0  # of the last fragment start that left the view
        self.reached: int | None = None
        self._line = 0  # number of the time line of `reached`
        # First and last pts of the newest drops, with nothing stored in between.
        self.lost_pts: tuple[int, int] | None = None
        self._stored_since_loss = False  # something was stored since the newest drops
        self.stored: list[Stored] = []  # not yet reported
        self._skipped_end = 0  # one past the newest item that is marked SKIP
        self._report = report

    def account(self) -> FrameAccount:
        """Return the current counts."""
        return FrameAccount(self.accepted, self.persisted, self.dropped, self.skipped, self.held)

    @property
    def held(self) -> int:
        """Number of frames that are neither stored nor dropped."""
        return self.accepted - self.persisted - self.dropped

    def drop(
        self,
        dts: tuple[int, int],
        pts: tuple[int, int],
        count: int,
        reason: DropReason,
        line: int,
    ) -> None:
        """Count and report `count` accepted frames of a time line as dropped.

        `dts` and `pts` are pairs: the times of the first and of the last frame, in ticks. `line` is
        the number of the time line.
        """
        self._report(*dts, count, reason)
        self.dropped += count
        first, last = pts
        if self.lost_pts is not None and not self._stored_since_loss:
            first, last = min(first, self.lost_pts[0]), max(last, self.lost_pts[1])
        self.lost_pts, self._stored_since_loss = (first, last), False
        self._note_settled(pts[1], line)

    def _drop_item(self, item: ViewItem, reason: DropReason, line: int) -> None:
        dts, pts = (item.timestamp, item.timestamp), (item.pts, item.pts)
        self.drop(dts, pts, 1, reason, line)

    def _note_settled(self, pts: int, line: int) -> None:
        """Set `reached` to `pts` if that is later, or if the time line is newer."""
        if self.reached is None or line > self._line:
            self.reached, self._line = pts, line
        elif line == self._line and pts > self.reached:
            self.reached = pts

    def settled_until(self, view: ContentView, waiting: Iterable[int]) -> int | None:
        """Return the media time up to which all accepted frames are settled.

        `waiting` are the pts of accepted frames that have no item yet. The result is None if no
        frame has been settled so far.
        """
        if self.reached is None:
            return None
        in_view = view.times_without(max(self.settled, view.tail), view.head, _NO_FRAME)
        in_doubt = (doubt.earliest for doubt in self._unacked)
        first_held = min(chain(in_view, in_doubt, waiting), default=None)
        return self.reached if first_held is None else min(self.reached, first_held - 1)

    def _count_stored(self, view: ContentView, start: int, end: int) -> None:
        """Count the frames of the items [start, end) as persisted, fragment by fragment."""
        plain = start >= view.marks_end and start >= self._skipped_end  # true for nearly all calls
        items = view.items
        while start < end:
            following = min(view.next_start(start + 1), end)
            if plain:
                times = [items[index].pts for index in range(start, following)]
            else:
                times = view.times_without(start, following, _NO_FRAME)
            if times:
                self.persisted += len(times)
                first = items.get(items[start].fragment)
                fragment, put_at = self._fragment, self._put_at  # its start has left the view
                if first is not None:
                    fragment, put_at = first.ack_timestamp, first.put_at
                run = Stored(fragment, min(times), max(times), len(times), put_at)
                self._note_stored(run, view.line_of(start))
            start = following

    def _note_stored(self, run: Stored, line: int) -> None:
        self.stored.append(run)
        lost, self._stored_since_loss = self.lost_pts, True
        if lost is not None and run.first_pts <= lost[1] and run.last_pts >= lost[0]:
            self.lost_pts = None
        self._note_settled(run.last_pts, line)

    def confirm(self, view: ContentView, end: int, final: int = PERSISTED) -> None:
        """Count the session's items before `end` as persisted, because the service has stored them.

        Items that were sent on a lost connection, and were not sent again, are an exception. If
        their own fragment has no ack with one of the flags `final`, they are dropped as
        UNCONFIRMED.
        """
        start = max(self.settled, view.tail)
        if end <= start:
            return
        if start < self.unconfirmed:
            start = self._confirm_old(view, start, min(end, self.unconfirmed), final)
        self._count_stored(view, start, end)
        self.settled = end

    def _confirm_old(self, view: ContentView, start: int, end: int, final: int) -> int:
        while start < end:
            following = min(view.next_start(start + 1), end)
            if view[view.start_of(start)].flags & final:
                self._count_stored(view, start, following)
            else:
                for index in range(start, following):
                    if not view[index].flags & _NO_FRAME:
                        self._drop_item(view[index], DropReason.UNCONFIRMED, view.line_of(index))
            start = following
        return end

    def evict(self, item: ViewItem, line: int, *, sent: bool, lost: bool) -> None:
        """Count an item that leaves the view because space is short.

        A frame that was not `sent` is dropped. A frame that was sent becomes unacknowledged. It is
        dropped as UNCONFIRMED instead if its connection is lost (`lost`) and it was not sent again.
        `line` is the number of its time line.
        """
        if item.flags & FRAGMENT_START:
            self._fragment, self._put_at = item.ack_timestamp, item.put_at
        if item.index < self.settled:
            return
        if not item.flags & _NO_FRAME:
            if not sent:
                self._drop_item(item, DropReason.OVERFLOW, line)
            elif lost or item.index < self.unconfirmed:
                self._drop_item(item, DropReason.UNCONFIRMED, line)
            else:
                self._add_unacked(item, line)
        self.settled = item.index + 1

    def _add_unacked(self, item: ViewItem, line: int) -> None:
        newest = self._unacked[-1] if self._unacked else None
        if (
            newest is not None
            and newest.fragment == self._fragment
            and newest.next_index == item.index
        ):
            newest.last = item.timestamp
            newest.count += 1
            newest.next_index += 1
            newest.earliest = min(newest.earliest, item.pts)
            newest.latest = max(newest.latest, item.pts)
        else:
            dts, pts = item.timestamp, item.pts
            doubt = _Unacked(
                self._fragment, dts, dts, 1, item.index + 1, pts, pts, line, self._put_at
            )
            self._unacked.append(doubt)

    def refuse(self, item: ViewItem, line: int, reason: DropReason = DropReason.REFUSED) -> None:
        """Drop an item that will not be sent, or not be sent again, and mark it SKIP.

        `line` is the number of its time line. The default reason is that the service refused it.
        """
        if not item.flags & SKIP:
            self.refused += 1
        if not item.flags & _NO_FRAME and item.index >= self.settled:
            self._drop_item(item, reason, line)
        item.flags |= SKIP
        self._skipped_end = max(self._skipped_end, item.index + 1)

    def store(self, view: ContentView, start: int, end: int) -> None:
        """Count the items of [start, end) as persisted, while earlier items still wait for acks.

        The items are marked SKIP, so that they are not sent again.
        """
        start = max(start, self.settled, view.tail)
        self._count_stored(view, start, end)
        for index in range(start, end):
            view[index].flags |= SKIP
        self._skipped_end = max(self._skipped_end, end)

    @property
    def evicted_fragment(self) -> int:
        """The ack timestamp of the last fragment start that was evicted from the view."""
        return self._fragment

    def settle_unacked(self, fragment: int, since: int = 0, wire: int | None = None) -> None:
        """Count unacknowledged frames as stored, for fragments that start at `fragment` or before.

        Two kinds of frames stay unacknowledged. Items before index `since` wait for acks of another
        connection. The fragment of item `wire` is still being handed out.
        """
        doubts, others = self._unacked, []
        while doubts and doubts[0].fragment <= fragment:
            doubt = doubts.popleft()
            if doubt.next_index - doubt.count < since or doubt.next_index - 1 == wire:
                others.append(doubt)
            else:
                self.persisted += doubt.count
                times = doubt.earliest, doubt.latest
                run = Stored(doubt.fragment, *times, doubt.count, doubt.put_at)
                self._note_stored(run, doubt.line)
        doubts.extendleft(reversed(others))

    def drop_unacked(self) -> None:
        """Drop the unacknowledged frames as UNCONFIRMED, because their connection is lost."""
        while self._unacked:
            doubt = self._unacked.popleft()
            dts, pts = (doubt.first, doubt.last), (doubt.earliest, doubt.latest)
            self.drop(dts, pts, doubt.count, DropReason.UNCONFIRMED, doubt.line)

    def drop_held(
        self,
        view: ContentView,
        dts: tuple[int, int],
        pts: tuple[int, int],
        reason: DropReason,
    ) -> None:
        """Count all held frames as dropped and report them, without reading the items.

        This is for a stream whose items and counts may have become inconsistent. `dts` and `pts`
        are pairs: the first and the last time, for the report.
        """
        self._unacked.clear()
        self.settled = view.head
        if self.held:
            self.drop(dts, pts, self.held, reason, view.line)

    def abandon(self, view: ContentView, reason: DropReason) -> None:
        """Drop all frames that are neither stored nor dropped yet, before the view is emptied.

        Frames that were sent get the reason UNCONFIRMED, the others get `reason`.
        """
        self.drop_unacked()
        for index in range(max(self.settled, view.tail), view.head):
            item = view[index]
            if not item.flags & _NO_FRAME:
                why = DropReason.UNCONFIRMED if index < view.current else reason
                self._drop_item(item, why, view.line_of(index))
        self.settled = view.head
