"""Tests that every status code can be provoked through the public API.

The modules of tests/status_codes have one table for each library, which maps a status to a function
that provokes it. The tests here run each function and check which statuses arrived. If nothing in
this package raises a status, it has no function, and its `condition` begins with "Not raised".
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.client.conftest import Desk
from tests.status_codes import (
    callbacks,
    client,
    common,
    credentials,
    heap,
    libraries,
    mkv,
    producer,
    utils,
)
from tests.status_codes.place import Command, Place, Provocation, find_statuses
from typer.testing import CliRunner

import kvsproducer
from kvsproducer import StatusCode
from kvsproducer.cli.app import app
from kvsproducer.status.catalogue import Entry, entries

HERE = Path(__file__).resolve().parent
MODULES = (common, heap, libraries, producer, credentials, callbacks, mkv, utils, client)
TABLES: dict[StatusCode, Provocation] = {
    status: provoke for module in MODULES for status, provoke in module.TABLE.items()
}
NOT_RAISED = ["STATUS_STOP_CALLBACK_CHAIN"]
"""The codes of the reference that this package does not raise: this one is not a failure."""


@pytest.fixture
def place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    video_library: Callable[..., str],
    request: pytest.FixtureRequest,
) -> Place:
    def kvs(*arguments: str) -> Command:
        result = CliRunner().invoke(app, [*arguments], prog_name="kvs")
        return Command(result.exit_code, result.stderr)

    return Place(
        desk=Desk,
        folder=tmp_path,
        patch=monkeypatch,
        log=caplog,
        kvs=kvs,
        video_library=video_library,
        endpoint_url=lambda: request.getfixturevalue("endpoint_url"),
    )


@pytest.mark.parametrize("status", sorted(TABLES), ids=lambda status: status.name)
def test_provoked(status: StatusCode, place: Place, request: pytest.FixtureRequest) -> None:
    """The call raises the status, or an event, a result, the log or `kvs` reports it."""
    came = find_statuses(TABLES[status], place)
    assert status in came, f"statuses that arrived: {sorted(came)}"
    named, mine = kvsproducer.explain(status).test, request.node.nodeid
    assert named == mine, "the catalogue does not say that it is raised"


def not_raised() -> list[Entry]:
    """Return the entries of the statuses that nothing in this package raises."""
    return [entry for entry in entries() if not entry.raised]


def test_each_status_is_provoked_or_documented_as_not_raised() -> None:
    """A status has a provocation exactly if the catalogue says that it is raised."""
    silent = {entry.status for entry in not_raised()}
    unproven = [entry.name for entry in entries() if entry.status not in {*TABLES, *silent}]
    assert unproven == [], "add provocations to tests/status_codes"
    assert sorted(silent & set(TABLES)) == [], "the catalogue says that nothing raises them"
    assert sum(len(module.TABLE) for module in MODULES) == len(TABLES), "a status is in two tables"


def test_all_codes_of_the_reference_but_one_are_raised() -> None:
    """Other codes that are not raised are only in AWS's headers."""
    assert [entry.name for entry in not_raised() if entry.printed is not None] == NOT_RAISED
    assert sum(entry.printed is not None for entry in entries()) == 233


def public_modules() -> set[str]:
    """Return the modules that the package's docstring lists as public."""
    assert kvsproducer.__doc__ is not None
    return set(re.findall(r"`(kvsproducer[\w.]*)`", kvsproducer.__doc__)) | {"kvsproducer"}


def names_used(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each name of kvsproducer that the parsed module uses."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {a.asname or a.name: a.name for a in node.names if "kvsproducer" in a.name}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kvsproducer"):
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in public_modules():
                    modules[alias.asname or alias.name] = whole
                else:
                    yield node.module, alias.name
    for node in ast.walk(tree):
        reached = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if reached and node.value.id in modules:
            yield modules[node.value.id], node.attr


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_provocations_use_public_names_only(module: object) -> None:
    """Provocations use names from `__all__` of public modules, and no name that begins with _."""
    tree = ast.parse(Path(module.__file__).read_text())  # type: ignore[attr-defined]
    for where, name in names_used(tree):
        assert where in public_modules(), where
        assert name in importlib.import_module(where).__all__, f"{where}.{name}"
    private = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr[0] == "_"]
    assert private == []


def test_made_up_evidence_is_refused(place: Place) -> None:
    """A bare status, an error that the provocation made itself, and exit code 0 prove nothing."""
    own = kvsproducer.KvsError(StatusCode.NULL_ARG, "made up")

    def raises(_: Place) -> None:
        raise own

    for lie in (lambda _: [StatusCode.NULL_ARG], raises, lambda _: Command(0, "NULL_ARG")):
        with pytest.raises(AssertionError):
            find_statuses(lie, place)
    assert find_statuses(lambda _: None, place) == set()
