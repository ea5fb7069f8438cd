"""Plant bugs in a copy of the source, to check that the golden cases find them.

`python tests/golden/plants.py [NAME ...]` plants the bugs of `plants.toml` one at a time and runs
the golden cases. It prints the first case that fails for each bug, and exits 1 if no case fails for
one of them. It raises an error if the text to replace is no longer in the source, or if the planted
code does not run, so that `plants.toml` is kept up to date.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DATA = ROOT / "tests" / "data" / "golden"


def plants() -> dict[str, dict[str, str]]:
    """Return the bugs by name."""
    table = tomllib.loads((HERE / "plants.toml").read_text())
    return {plant["name"]: plant for plant in table["plant"]}


def first_failure(plant: dict[str, str], folder: Path) -> str:
    """Plant a bug in a copy in `folder`; return the first case that fails, or ""."""
    for part in ("src", "tests/golden"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "src" / "kvsproducer" / plant["path"]
    text = file.read_text()
    if text.count(plant["old"]) != 1:
        raise ValueError(f"{plant['path']}: the text of {plant['name']!r} must occur once")
    file.write_text(text.replace(plant["old"], plant["new"]))
    runner = folder / "tests" / "golden" / "run.py"
    run = subprocess.run(
        [sys.executable, runner, *sorted(DATA.iterdir())],
        capture_output=True,
        text=True,
        timeout=300,
    )
    failure = "" if run.returncode == 0 else (run.stdout or run.stderr).splitlines()[0]
    if re.search(r"\b(Name|Attribute|Type)Error: ", failure):
        raise ValueError(f"{plant['path']}: {plant['name']!r} does not run: {failure}")
    return failure


def main(names: list[str]) -> int:
    """Plant the bugs with these names, or all; return the exit code."""
    unnoticed = 0
    for name, plant in plants().items():
        if names and name not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            failure = first_failure(plant, Path(folder))
        unnoticed += not failure
        sys.stdout.write(f"{name}: {failure[:160] or 'UNNOTICED'}\n")
        sys.stdout.flush()
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
