"""The documentation: its code blocks run, its links lead somewhere, its pages are all in the site.

`make docs` builds the site, where mkdocs checks links and anchors of the built pages too.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.iot import IotEndpoint
from tests.pages import DOCS, PAGES, ROOT, Block, Shell, blocks, check_form
from tests.status_codes import callbacks, client, producer
from typer.testing import CliRunner

import kvsproducer as kvs
from kvsproducer.cli.app import app
from kvsproducer.client import events
from kvsproducer.sources.pyav import write_clip
from kvsproducer.sources.spec import PatternSpec
from kvsproducer.status.catalogue import Entry, entries

LANGUAGES = {"python", "sh", "text", "json", "toml", "ini"}  # that a test runs or reads
IN_PLACE_OF_CAMERAS = ("rtsp://", "/dev/video")
# `kvs ...` in a shell block or in the text, up to a pipe or a remark.
COMMANDS = {
    command.strip()
    for page in PAGES
    for command in re.findall(r"(?:^|`)kvs ([a-z][^`#|\n&>]*)", page.read_text(), re.MULTILINE)
}
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="session")
def site() -> ModuleType:
    """`docs/build.py`, which writes the generated pages."""
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = [*sys.path]
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="session")
def generated(site: ModuleType) -> dict[str, str]:
    """The generated pages: path below docs/ -> text."""
    return dict(site.generated())


# --- code blocks --------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def iot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IotEndpoint]:
    """AWS IoT's credential endpoint, for all pages."""
    with IotEndpoint(tmp_path_factory.mktemp("iot")) as endpoint:
        yield endpoint


@pytest.fixture
def shell(
    quick_url: str, iot: IotEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Shell]:
    """A folder with clip.mp4, endpoints in the environment, and media stored in front-door.

    A clip takes the place of a camera that a page opens with PyAV.
    """
    import av

    for name, value in iot.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", quick_url)
    write_clip("clip.mp4", PatternSpec(duration_s=Fraction(2), audio="aac"))
    kvs.put_media("clip.mp4", "front-door", retention="PT1H")
    opened = av.open

    def open_clip(file: Any, *arguments: Any, **options: Any) -> Any:
        if str(file).startswith(IN_PLACE_OF_CAMERAS):
            return opened("clip.mp4")
        return opened(file, *arguments, **options)

    monkeypatch.setattr(av, "open", open_clip)
    shell = Shell(tmp_path, dict(os.environ))
    yield shell
    shell.close()


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Take back what a page configures for `logging`."""
    import logging

    loggers = [logging.getLogger(), logging.getLogger("kvsproducer")]
    before = [(one, one.level, list(one.handlers)) for one in loggers]
    yield
    for one, level, handlers in before:
        for handler in set(one.handlers) - set(handlers):
            one.removeHandler(handler)
            handler.close()
        one.setLevel(level)


def run_python(block: Block, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a block in this process, with what the page exported before."""
    for name, value in shell.environment.items():
        if name.startswith(("AWS_", "KVS", "CONTROL_PLANE")):
            monkeypatch.setenv(name, value)
    names: dict[str, object] = {"__name__": "__main__"}
    code = "\n" * (block.line - 1) + shell.here(block.code)
    try:
        exec(compile(code, block.place, "exec"), names)
    finally:
        for value in names.values():  # one that only shows how to open a producer leaves it open
            if isinstance(value, kvs.Producer):
                value.close(0)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_code_blocks_run(page: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of a page runs as it stands, in the page's order, or is marked with a reason."""
    for block in blocks(page):
        if block.mark == "not run":
            continue
        if block.mark == "needs" and importlib.util.find_spec(block.reason) is None:
            continue
        assert block.language in LANGUAGES, f"{block.place}: mark it as not run, or run it"
        if block.reason == "with pytest":
            shell.run_with_pytest(block.code)
        elif block.reason == "until SIGTERM":
            shell.run_until_sigterm(block.code)
        elif block.language == "python":
            run_python(block, shell, monkeypatch)
        elif block.language == "sh":
            shell.run(block.code)
        else:
            check_form(block)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands_have_the_options_that_pages_give_them(command: str) -> None:
    """`--help` answers, unless an option or the command itself is unknown."""
    name, *arguments = shlex.split(command)
    ran = CliRunner().invoke(app, [name, "--help", *arguments], prog_name="kvs")
    assert ran.exit_code == 0, ran.stderr


# --- links --------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path, generated: dict[str, str]) -> None:
    """A link names a file of the project or a page of the site; an external one is https."""
    for link in _LINK.findall(page.read_text()):
        path, _, heading = link.partition("#")
        if "://" in link:
            assert re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/\S*)?", link), link
            continue
        target = (page.parent / path).resolve() if path else page
        name = target.relative_to(DOCS).as_posix() if DOCS in target.parents else ""
        assert target.exists() or name in generated, f"{page}: {link}"
        if heading and target.suffix == ".md":
            text = generated.get(name) or target.read_text()
            assert heading in anchors(text), f"{page}: {link}"


def anchors(text: str) -> set[str]:
    """Return the names by which links reach the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", head).strip().lower() for head in heads)
    return {re.sub(r"[\s-]+", "-", head) for head in plain} | set(
        re.findall(r"{ #([\w-]+) }", text)
    )


def test_the_navigation_names_every_page(site: ModuleType, generated: dict[str, str]) -> None:
    """No page of docs/ is missing in mkdocs.yml, and none that it names is missing in docs/."""
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", navigation, re.MULTILINE)
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert not written & set(generated), "a generated page is in the repository"
    unlisted = {path for path, _ in site.pages()} | {"reference/api/other.md"}
    assert set(named) == (written | set(generated)) - unlisted
    assert len(named) == len(set(named)), "a page is named twice"


# --- generated pages ----------------------------------------------------------------------------
def test_pages_are_written_into_a_folder(tmp_path: Path, generated: dict[str, str]) -> None:
    """`python docs/build.py FOLDER` writes every generated page."""
    done = subprocess.run(
        [sys.executable, str(DOCS / "build.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")}
    assert written == set(generated)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.status.name)
def test_each_status_has_a_row_and_a_page(entry: Entry, generated: dict[str, str]) -> None:
    """The row has name, value and meaning; the page also cause, remedy, misprint and test."""
    rows = generated["reference/status-codes.md"].replace("\\", "")
    page = generated[f"reference/status/{entry.status.hex}.md"].replace("\\", "")
    link = f"(status/{entry.status.hex}.md)"
    (row,) = (row for row in rows.replace("<wbr>", "").splitlines() if link in row)
    assert f"<code>{entry.name.removeprefix('STATUS_')}</code>" in row
    assert entry.status.hex in row
    assert entry.description in row
    facts = [entry.name, entry.status.hex, entry.description, entry.condition, entry.action]
    if entry.misprinted:
        facts.append(f"0x{entry.printed:08x}")
    if entry.test is not None:
        facts.append(entry.test)
    for fact in facts:
        assert fact.replace("\\", "") in page


def test_statuses_that_only_compat_raises_are_marked(
    site: ModuleType, generated: dict[str, str]
) -> None:
    """Those of callbacks and of log files; the provocations of the core raise none of them."""
    marked = {
        entry.status
        for entry in entries()
        if site.COMPAT_NOTE in generated[f"reference/status/{entry.status.hex}.md"]
    }
    assert {
        kvs.StatusCode.GET_CLIENT_TOKEN_CALL_FAILED,
        kvs.StatusCode.MAX_CALLBACK_CHAIN,
        kvs.StatusCode.TAG_CLIENT_CALL_FAILED,
    } <= marked
    assert kvs.StatusCode.CREATE_CLIENT_CALL_FAILED not in marked  # the core raises it, too
    assert not marked & set(client.TABLE)
    assert marked <= {*callbacks.TABLE, *producer.TABLE}


def test_the_command_line_page_has_every_option(generated: dict[str, str]) -> None:
    """What `--help` lists for a command is on the page."""
    page = generated["reference/command-line.md"]
    for command in ("put", "get", "serve", "inspect", "explain", "demo"):
        section = page.partition(f"## kvs {command}\n")[2].partition("\n## ")[0]
        help_text = CliRunner().invoke(app, [command, "--help"]).stdout
        for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", help_text)):
            assert option in section, f"kvs {command} {option}"


def test_the_tests_that_differences_name_exist() -> None:
    """Each deliberate difference names a test that exists."""
    rows = tomllib.loads((DOCS / "differences.toml").read_text())
    for row in rows["difference"] + rows["kept"]:
        name, _, function = row["test"].partition("::")
        text = (ROOT / name).read_text()
        assert f"def {function}(" in text, row["test"]


def test_every_event_is_on_the_page_of_events() -> None:
    """A kind of event that users can get is named where events are explained."""
    text = (DOCS / "how-to" / "events.md").read_text()
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type)]
    names = [kind.__name__ for kind in kinds if issubclass(kind, events.Event)]
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in text] == []


def test_options_in_docstrings_become_sections() -> None:
    """A paragraph of `name: text` is a section of its options; other paragraphs stay."""
    pytest.importorskip("griffe", reason="not installed: griffe (extra docs)")
    spec = importlib.util.spec_from_file_location(
        "docstrings", DOCS / "generator" / "docstrings.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = "Do it.\n\nhost, port: the address,\n    or None\nname: a text\n\nRaises: nothing."
    args = "Args:\n    host: The address, or None\n    port: The address, or None\n    name: A text"
    assert module.with_sections(text, set()) == f"Do it.\n\n{args}\n\nRaises: nothing."
    assert module.with_sections("a: b", {"a"}) == "Attributes:\n    a: B"
