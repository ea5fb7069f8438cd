"""The generated pages of docs/ are what the code says today."""

from __future__ import annotations

import subprocess
import sys
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
    """A copy of the generator, whose pages are not written yet."""
    copy = tmp_path / "build.py"
    copy.write_text((DOCS / "build.py").read_text())
    return copy


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
