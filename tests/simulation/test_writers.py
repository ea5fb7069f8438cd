"""A simulated writer does what applications do, and finds a wake-up that never comes."""

from __future__ import annotations

import pytest
from tests.simulation.books import Broken
from tests.simulation.world import World

from kvsproducer.client.present import PresentTracks
from kvsproducer.client.timeline import Timeline, Verdict


def test_a_wake_up_that_never_comes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core says nothing of space: some writer runs into its deadline with space there."""
    monkeypatch.setattr("kvsproducer.client.core.StreamCore.wake_writers", lambda core: None)
    with pytest.raises(Broken, match="lost wake-up"):
        for seed in range(40):
            World(seed).run()


def test_a_stream_is_opened_anew_with_books_of_its_own() -> None:
    """What the first one held was told as dropped when it was freed."""
    world = World(28)
    (first, *_) = world.writers
    world._let_happen(20_000_000)
    old = first.stream
    first.reopen()
    assert old.freed
    assert not old.account().held
    assert first.stream is not old
    assert first.stream.account().accepted == 0


def test_a_core_without_a_timeline_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses frames without end after a jump back, or goes on from a single wrong time."""
    monkeypatch.setattr(Timeline, "judge", lambda *judged: Verdict.GO)
    for seed, what in ((47, "pictures in a row are refused"), (52, "was far off, and the next")):
        with pytest.raises(Broken, match=what):
            World(seed).run()


def test_a_silent_track_that_holds_up_the_others_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core never goes on without it."""
    monkeypatch.setattr(PresentTracks, "find_silent", lambda tracks: None)
    with pytest.raises(Broken, match="the others wait for it"):
        World(4).run()
