"""The command of the simulation; the worlds themselves are in tests/simulation."""

from __future__ import annotations

import pytest

from kvsproducer.testing.simulation import main


def test_a_range_of_seeds_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 and the figures."""
    assert main(["--seeds", "0:3"]) == 0
    assert capsys.readouterr().out.startswith("3 worlds, 0 broken, ")


def test_bad_usage_is_refused() -> None:
    """Neither seed nor seeds."""
    with pytest.raises(SystemExit):
        main([])
