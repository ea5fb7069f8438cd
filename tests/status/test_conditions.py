"""The catalogue tells the truth about who raises what: its causes against the sources."""

from __future__ import annotations

import re
from pathlib import Path

from kvsproducer.status import StatusCode
from kvsproducer.status.catalogue import entries

SRC = Path(__file__).resolve().parents[2] / "src" / "kvsproducer"
# It has the failure of every state, also of states that never fail.
STATE_TABLES = SRC / "client" / "states.py"
NOT_RAISED = re.compile(r"(Not|Never) raised")


def named_in(*paths: Path) -> set[StatusCode]:
    """The statuses that these modules name."""
    text = "\n".join(path.read_text() for path in paths)
    names = re.findall(r"\b(?:StatusCode|_S)\.([A-Z][A-Z0-9_]+)", text)
    return {StatusCode[name] for name in names if name in StatusCode.__members__}


def modules() -> list[Path]:
    """All modules save those of status/ that define the statuses."""
    acks = SRC / "status" / "service_errors.py"  # what the service reports is data there
    return [path for path in SRC.rglob("*.py") if path == acks or path.parent.name != "status"]


def test_what_is_raised_is_not_said_to_be_never_raised() -> None:
    """A module that begins to raise a status gets its cause written into catalogue.tsv."""
    raised = named_in(*(path for path in modules() if path != STATE_TABLES))
    raised -= {StatusCode.SUCCESS, StatusCode.STOP_CALLBACK_CHAIN}  # values, not failures
    assert [e.name for e in entries() if e.status in raised and NOT_RAISED.match(e.condition)] == []


def test_what_is_said_to_be_raised_is_named_by_a_module() -> None:
    """A cause in the catalogue has somebody who raises it."""
    named = named_in(*modules())
    said = [e for e in entries() if not NOT_RAISED.match(e.condition)]
    assert [e.name for e in said if e.status not in named] == []
