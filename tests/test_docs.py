"""The generated pages of docs/ are what the code says today."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kvsproducer.cli.app import app
from kvsproducer.client import events

DOCS = Path(__file__).resolve().parent.parent / "docs"
# `kvs ...` in a shell block or in the text, up to a pipe or a remark.
COMMANDS = {
    command.strip()
    for page in [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
    for command in re.findall(r"(?:^|`)kvs ([a-z][^`#|\n]*)", page.read_text(), re.MULTILINE)
}


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


def test_the_index_lists_every_page_and_nothing_else() -> None:
    """Who starts at docs/README.md can reach all that is there."""
    links = set(re.findall(r"\]\(([^)#]+)\)", (DOCS / "README.md").read_text()))
    pages = {
        path.relative_to(DOCS).as_posix()
        for kind in ("tutorial", "how-to", "explanation", "reference")
        for path in (DOCS / kind).iterdir()
    }
    assert {link for link in links if not link.startswith("../")} == pages


def test_links_between_pages_lead_somewhere() -> None:
    """Files and headings that pages name are there."""
    root = DOCS.parent
    for page in [*root.glob("*.md"), *DOCS.rglob("*.md")]:
        for link, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text()):
            target = (page.parent / link) if link else page
            assert target.exists(), f"{page}: {link}"
            if heading and target.suffix == ".md" and "<a" not in target.read_text():
                heads = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
                assert heading in slugs, f"{page}: {link}#{heading}"


def test_every_event_is_on_the_page_of_events() -> None:
    """A kind of event that users can get is named where events are explained."""
    text = (DOCS / "how-to" / "events.md").read_text()
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type)]
    names = [kind.__name__ for kind in kinds if issubclass(kind, events.Event)]
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands_have_the_options_that_pages_give_them(command: str) -> None:
    """Names change; `--help` answers, unless an option or the command itself is unknown."""
    ran = CliRunner().invoke(app, [*shlex.split(command), "--help"], prog_name="kvs")
    assert ran.exit_code == 0, ran.stderr
