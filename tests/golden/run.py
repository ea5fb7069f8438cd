"""Run golden cases: `python tests/golden/run.py FILE...` (`.jsonl` or `.jsonl.gz`).

Each line of a file is a case; its keys identify the schema. The program prints a line for each case
that failed or is not expressed (it uses a feature that kvsproducer does not have), then how many
steps of the stream and ack cases were compared, and last `N passed, M failed, K quirks`. It exits 1
if a case failed. A quirk is a case in which the C producer has a defect that differences.toml
lists, and our result is right.
"""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent.parent / "src")]

from common import Case, Outcome, Verdict, differences  # noqa: E402 - needs the path set above

_SCHEMAS = [path.stem for path in sorted(_HERE.glob("*.py")) if path.stem[:5] != "test_"]


def modules() -> dict[str, ModuleType]:
    """Return the golden modules by the name of their schema."""
    loaded = {name: importlib.import_module(name) for name in _SCHEMAS if name != "run"}
    return {name: module for name, module in loaded.items() if hasattr(module, "matches")}


def cases(path: Path) -> Iterator[Case]:
    """Yield the cases of a file, one for each line."""
    data = path.read_bytes()
    lines = gzip.decompress(data) if path.suffix == ".gz" else data
    for line in lines.splitlines():
        if line.strip():
            yield json.loads(line)


def _verdict(
    case: Case, schemas: Mapping[str, ModuleType], rules: Mapping[str, frozenset[str]]
) -> Verdict:
    name = next((name for name in schemas if schemas[name].matches(case)), None)
    if name is None:
        return Verdict(Outcome.FAILED, "no golden module knows this schema")
    try:
        verdict: Verdict = schemas[name].check(case, rules[name])
    except Exception as error:  # noqa: BLE001 - a crash fails this case only
        return Verdict(Outcome.FAILED, f"{type(error).__name__}: {error}")
    return verdict


def main(paths: list[str]) -> int:
    """Run the files, print the verdicts and return the exit code."""
    schemas = modules()
    rules = {name: differences(name) for name in schemas}
    tally: Counter[Outcome] = Counter()
    steps: Counter[str] = Counter()
    for path in map(Path, paths):
        for case in cases(path):
            verdict = _verdict(case, schemas, rules)
            tally[verdict.outcome] += 1
            steps.update(verdict.steps)
            if verdict.outcome in (Outcome.FAILED, Outcome.NOT_EXPRESSED):
                identity = f"{path.name} {case.get('id', '?')} {case.get('group', '')}"
                sys.stdout.write(f"{identity}: {verdict.detail}\n")
    if tally[Outcome.NOT_EXPRESSED]:
        sys.stdout.write(f"{tally[Outcome.NOT_EXPRESSED]} not expressed\n")
    if steps:
        shares = (f"{count} {name}" for name, count in sorted(steps.items()))
        sys.stdout.write(f"steps: {', '.join(shares)}\n")
    totals = (f"{tally[o]} {o.value}" for o in Outcome if o is not Outcome.NOT_EXPRESSED)
    sys.stdout.write(f"{', '.join(totals)}\n")
    return 1 if tally[Outcome.FAILED] else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.stderr.write(__doc__ or "")
        sys.exit(2)
    sys.exit(main(sys.argv[1:]))
