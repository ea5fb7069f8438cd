"""The generated pages of docs/ are what the code says today."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def build(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=60
    )


def test_generated_pages_are_fresh() -> None:
    """`make docs` would change nothing."""
    result = build(DOCS / "build.py", "--check")
    assert result.returncode == 0, f"run `make docs`:\n{result.stdout}{result.stderr}"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A copy of the generator and its sources, whose pages are not written yet."""
    for name in ("docs/build.py", "docs/differences.toml", "tests/golden/differences.toml"):
        copy = tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((DOCS.parent / name).read_text())
    return tmp_path / "docs" / "build.py"


def test_check_finds_missing_and_changed_pages_and_build_repairs_them(script: Path) -> None:
    """`--check` fails until the page is written, and again once it was edited by hand."""
    page = script.parent / "reference" / "status-codes.md"
    assert build(script, "--check").returncode == 1
    assert not page.exists()
    assert build(script).returncode == 0
    assert build(script, "--check").returncode == 0
    page.write_text(page.read_text() + "by hand\n")
    stale = build(script, "--check")
    assert stale.returncode == 1
    assert "reference/status-codes.md: stale" in stale.stdout


def test_the_tests_that_differences_name_exist() -> None:
    """A difference stands on a test that is there."""
    rows = tomllib.loads((DOCS / "differences.toml").read_text())
    for row in rows["difference"] + rows["kept"]:
        name, _, function = row["test"].partition("::")
        text = (DOCS.parent / name).read_text()
        assert f"def {function}(" in text, row["test"]
