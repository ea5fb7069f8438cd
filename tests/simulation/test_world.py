"""The command of the simulation; the worlds themselves are in tests/simulation."""

from __future__ import annotations

import pytest
from tests.simulation import world
from tests.simulation.world import main


def test_a_range_of_seeds_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 and the figures."""
    assert main(["--seeds", "0:3"]) == 0
    assert capsys.readouterr().out.startswith("3 worlds, 0 broken, ")


def test_bad_usage_is_refused() -> None:
    """Neither seed nor seeds."""
    with pytest.raises(SystemExit):
        main([])


def test_a_long_run_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error, and once in a while only."""
    monkeypatch.setattr(world, "_MILESTONE", 2)
    assert main(["--seeds", "0:5"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told == ["2 of 5 worlds, 0 broken", "4 of 5 worlds, 0 broken"]
