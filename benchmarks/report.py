"""Output of the figures as a table or as JSON."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, dataclass


@dataclass
class Figure:
    """One measured value, with its target and the calibration on the same machine."""

    group: str
    what: str
    value: float
    unit: str
    target: str = ""
    calibration: float | None = None

    @property
    def ratio(self) -> float | None:
        """The ratio of the value to the calibration."""
        return self.value / self.calibration if self.calibration else None


def show(figures: list[Figure], as_json: bool) -> None:
    """Print the figures."""
    if as_json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        rows = [asdict(figure) | {"ratio": figure.ratio} for figure in figures]
        json.dump({"machine": machine, "figures": rows}, sys.stdout, indent=2)
        print()
        return
    print(f"Python {platform.python_version()} on {platform.machine()}")
    group = ""
    for figure in figures:
        if figure.group != group:
            group = figure.group
            print(f"\n{group}")
        ratio = f"{figure.ratio:6.2f} x calibration" if figure.ratio else ""
        target = f"target {figure.target}" if figure.target else ""
        print(f"  {figure.what:<44} {figure.value:>12,.1f} {figure.unit:<10} {ratio:<20} {target}")
