"""Tests that `condition` in the catalogue agrees with the source code that raises each status."""

from __future__ import annotations

import re
from pathlib import Path

from kvsproducer.status import StatusCode
from kvsproducer.status.catalogue import entries

SRC = Path(__file__).resolve().parents[2] / "src" / "kvsproducer"
# This table names a failure for every state, including states that never fail.
STATE_TABLES = SRC / "client" / "states.py"
NOT_RAISED = re.compile(r"Not raised")


def named_in(*paths: Path) -> set[StatusCode]:
    """Return the statuses that these modules name."""
    text = "\n".join(path.read_text() for path in paths)
    names = re.findall(r"\b(?:StatusCode|_S)\.([A-Z][A-Z0-9_]+)", text)
    return {StatusCode[name] for name in names if name in StatusCode.__members__}


def modules() -> list[Path]:
    """Return all modules except those of status/ that only define the statuses."""
    acks = SRC / "status" / "service_errors.py"  # the statuses in this table are reported
    return [path for path in SRC.rglob("*.py") if path == acks or path.parent.name != "status"]


def test_raised_statuses_are_not_documented_as_not_raised() -> None:
    """If a module begins to raise a status, catalogue.tsv must get its condition."""
    raised = named_in(*(path for path in modules() if path != STATE_TABLES))
    raised -= {StatusCode.SUCCESS, StatusCode.STOP_CALLBACK_CHAIN}  # values, not failures
    assert [e.name for e in entries() if e.status in raised and NOT_RAISED.match(e.condition)] == []


def test_documented_conditions_have_a_module_that_raises_them() -> None:
    """A status with a condition in the catalogue is named by at least one module."""
    named = named_in(*modules())
    said = [e for e in entries() if not NOT_RAISED.match(e.condition)]
    assert [e.name for e in said if e.status not in named] == []
