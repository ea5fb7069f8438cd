"""The codes and names in AWS's Error Code Reference, for the tests of the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parent.parent / "data" / "error_code_reference.tsv"


@pytest.fixture(scope="session")
def reference() -> list[tuple[str, str]]:
    """(code as printed, name) for every line of the reference's tables, in the same order."""
    rows = [line.split("\t") for line in DATA.read_text().splitlines()[1:]]
    return [(printed, name) for printed, name in rows]
