"""The accounts: accepted == persisted + dropped + held at any time."""

from __future__ import annotations

import random

import pytest

from kvsproducer.client.buffer.ledger import Ledger
from kvsproducer.client.buffer.view import (
    END_OF_FRAGMENT,
    FRAGMENT_START,
    PERSISTED,
    SKIP,
    ContentView,
    ViewItem,
)
from kvsproducer.client.events import DropReason

OVERFLOW, UNCONFIRMED, REFUSED = DropReason.OVERFLOW, DropReason.UNCONFIRMED, DropReason.REFUSED


class Books:
    """A ledger with a view whose fragments are `size` frames long, one tick each."""

    def __init__(self, size: int = 2) -> None:
        self.size = size
        self.view = ContentView(1000, 10**6)
        self.drops: list[tuple[int, int, int, DropReason]] = []
        self.ledger = Ledger(lambda *drop: self.drops.append(drop))

    def put(self, count: int) -> None:
        for _ in range(count):
            time = self.view.head
            flags = 0 if time % self.size else FRAGMENT_START
            self.view.append(ViewItem(time, time, 1, flags, b"h", 0, (), 1, 1, time))
            self.view.items[time].put_at = 0
            self.ledger.accepted += 1

    def send(self, count: int) -> None:
        for _ in range(count):
            self.view.take()

    def evict(self, *, lost: bool = False) -> None:
        sent = self.view.tail < self.view.current
        self.ledger.evict(self.view.drop_tail(), 0, sent=sent, lost=lost)

    @property
    def sums(self) -> tuple[int, int, int]:
        account = self.ledger.account()
        assert account.accepted == account.persisted + account.dropped + account.held
        assert account.dropped == sum(drop[2] for drop in self.drops)
        return account.persisted, account.dropped, account.held


def test_confirmed_frames_are_persisted_once() -> None:
    """Repeated confirmations count nothing twice, and end-of-fragment tags are not frames."""
    books = Books()
    books.put(4)
    books.view[3].flags |= END_OF_FRAGMENT
    books.view.marks_end = 4  # as `append` sets it
    books.ledger.accepted -= 1
    books.send(4)
    books.ledger.confirm(books.view, 2)
    assert books.sums == (2, 0, 1)
    books.ledger.confirm(books.view, 1)
    books.ledger.confirm(books.view, 4)
    books.ledger.confirm(books.view, 4)
    assert books.sums == (3, 0, 0)


def test_an_unsent_frame_is_dropped_when_evicted() -> None:
    """It is dropped at once with the reason OVERFLOW."""
    books = Books()
    books.put(3)
    books.evict()
    assert books.sums == (0, 1, 2)
    assert books.drops == [(0, 0, 1, OVERFLOW)]


def test_an_evicted_sent_frame_is_held_until_its_ack_or_the_loss() -> None:
    """The ack names a fragment. Frames up to it are persisted; the loss drops those after it."""
    books = Books()
    books.put(4)
    books.send(4)
    for _ in range(4):
        books.evict()
    assert books.sums == (0, 0, 4)
    assert books.ledger.evicted_fragment == 2
    for time in (0, 1):  # up to the second fragment's start, only the first is covered
        books.ledger.settle_unacked(time)
        assert books.sums == (2, 0, 2)
    books.ledger.drop_unacked()
    assert books.drops == [(2, 3, 2, UNCONFIRMED)]
    assert books.sums == (2, 2, 0)


def test_unacknowledged_frames_do_not_include_refused_ones() -> None:
    """A refused frame within a fragment is reported once, with its own reason."""
    books = Books(3)
    books.put(3)
    books.send(3)
    books.ledger.refuse(books.view[1], 0)
    for _ in range(3):
        books.evict()
    books.ledger.drop_unacked()
    assert books.drops == [(1, 1, 1, REFUSED), (0, 0, 1, UNCONFIRMED), (2, 2, 1, UNCONFIRMED)]
    assert books.sums == (0, 3, 0)


def test_an_evicted_frame_of_a_lost_connection_is_dropped() -> None:
    """No ack can come for it; the same holds for a frame that was not sent again."""
    books = Books()
    books.put(4)
    books.send(4)
    books.evict(lost=True)
    books.ledger.unconfirmed = 2
    books.evict()
    assert books.drops == [(0, 0, 1, UNCONFIRMED), (1, 1, 1, UNCONFIRMED)]
    books.evict()
    assert books.sums == (0, 2, 2)


def test_a_frame_that_was_not_sent_again_needs_its_own_ack() -> None:
    """Below `unconfirmed`, a confirmation of later items does not cover a fragment."""
    books = Books()
    books.put(6)
    books.send(6)
    books.view[0].flags |= PERSISTED
    books.ledger.unconfirmed = 4
    books.ledger.confirm(books.view, 6)
    assert books.sums == (4, 2, 0)
    assert [drop[0] for drop in books.drops] == [2, 3]


@pytest.mark.parametrize("settled", [False, True])
def test_a_refused_frame_is_dropped_unless_it_is_settled(settled: bool) -> None:
    """It is marked SKIP, counted once, and never confirmed later."""
    books = Books()
    books.put(2)
    books.send(2)
    if settled:
        books.ledger.confirm(books.view, 1)
    for _ in range(2):
        books.ledger.refuse(books.view[0], 0)
    assert books.view[0].flags & SKIP
    assert books.ledger.refused == 1
    assert books.drops == ([] if settled else [(0, 0, 1, REFUSED)])
    books.ledger.confirm(books.view, 2)
    assert books.sums == ((2, 0, 0) if settled else (1, 1, 0))


def test_abandoning_settles_everything() -> None:
    """Sent frames get the reason UNCONFIRMED, the others the given reason."""
    books = Books()
    books.put(4)
    books.send(2)
    books.evict()
    books.ledger.abandon(books.view, DropReason.RESET)
    assert books.sums == (0, 4, 0)
    assert [(drop[0], drop[3]) for drop in books.drops] == [
        (0, UNCONFIRMED),
        (1, UNCONFIRMED),
        (2, DropReason.RESET),
        (3, DropReason.RESET),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_the_accounts_balance_after_random_operations(seed: int) -> None:
    """After `abandon`, no frame is held."""
    dice = random.Random(seed)
    books = Books(dice.randrange(1, 5))
    view, ledger = books.view, books.ledger
    for _ in range(300):
        match dice.randrange(6):
            case 0:
                books.put(dice.randrange(5))
            case 1:
                books.send(dice.randrange(5))
            case 2 if len(view):
                books.evict(lost=dice.random() < 0.3)
            case 3:
                ledger.confirm(view, dice.randrange(view.tail, view.current + 1))
            case 4 if len(view):
                ledger.refuse(view[dice.randrange(view.tail, view.head)], 0)
            case 5:
                ledger.unconfirmed = dice.randrange(view.head + 1)
                ledger.settle_unacked(dice.randrange(view.head + 1))
                if dice.random() < 0.3:
                    ledger.drop_unacked()
        persisted, dropped, held = books.sums
        assert min(persisted, dropped, held) >= 0
    ledger.abandon(view, DropReason.CLOSED)
    assert books.sums[2] == 0
