"""Run golden cases: `python tests/golden/run.py FILE...` (`.jsonl` or `.jsonl.gz`).

Each line of a file is a case; its keys tell the schema. Prints a line for every failing case and,
last, `N passed, M failed, K quirks`; exits 1 when a case failed. A quirk is a case where the C
producer does something that differences.toml lists as a defect, and ours does the right thing.
"""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent.parent / "src")]

from common import Case, Outcome, Verdict, differences  # noqa: E402 - found by the line above

_SCHEMAS = [path.stem for path in sorted(_HERE.glob("*.py"))]


def modules() -> dict[str, ModuleType]:
    """The golden modules by the name of their schema."""
    loaded = {name: importlib.import_module(name) for name in _SCHEMAS if name != "run"}
    return {name: module for name, module in loaded.items() if hasattr(module, "matches")}


def cases(path: Path) -> Iterator[Case]:
    """The cases of a file, one a line."""
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def main(paths: list[str]) -> int:
    """Run the files and print the verdicts; returns the exit code."""
    schemas = modules()
    rules = {name: differences(name) for name in schemas}
    tally: Counter[Outcome] = Counter()
    for path in map(Path, paths):
        for case in cases(path):
            name = next((name for name in schemas if schemas[name].matches(case)), None)
            if name is None:
                verdict = Verdict(Outcome.FAILED, "no golden module knows this schema")
            else:
                verdict = schemas[name].check(case, rules[name])
            tally[verdict.outcome] += 1
            if verdict.outcome is Outcome.FAILED:
                print(
                    f"{path.name} {case.get('id', '?')} {case.get('group', '')}: {verdict.detail}"
                )
    print(", ".join(f"{tally[outcome]} {outcome.value}" for outcome in Outcome))
    return 1 if tally[Outcome.FAILED] else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1:]))
