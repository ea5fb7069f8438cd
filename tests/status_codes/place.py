"""`Place`, the helpers of all provocations, and `find_statuses`, which finds the reported statuses.

A provocation is a function that makes the package report a status. It raises the package's error,
or returns evidence: errors that it caught, events, log records, the result of reading an upload,
the result of a command, or lists of these. A `StatusCode` alone is not evidence, and neither is an
error that the provocation itself created.
"""

from __future__ import annotations

import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest
from tests.client.conftest import Desk

import kvsproducer
from kvsproducer import KvsError, StatusCode

SRC = str(Path(kvsproducer.__file__).parent)
NOBODY_UID = 65534
NAMED = re.compile(r"\b(?:STATUS_)?([A-Z][A-Z0-9_]{4,})\b")


@dataclass(frozen=True)
class Command:
    """The result of a `kvs` command."""

    exit_code: int
    stderr: str


@dataclass(frozen=True)
class Place:
    """The helpers that the provocations of all libraries use."""

    desk: Callable[..., Desk]  # make a client core with a scripted service
    folder: Path  # empty
    patch: pytest.MonkeyPatch
    log: pytest.LogCaptureFixture
    kvs: Callable[..., Command]  # run a command in this process
    video_library: Callable[..., str]  # compile a video memory library with these defines
    endpoint_url: Callable[[], str]  # start a local endpoint for this test

    @contextmanager
    def public_folder(self) -> Iterator[Path]:
        """Make a folder that all users may enter; pytest's own folders are private."""
        with tempfile.TemporaryDirectory() as name:
            os.chmod(name, 0o755)
            yield Path(name)

    @contextmanager
    def read_only(self, folder: Path) -> Iterator[None]:
        """Make the folder read-only inside the block, for a process of root too."""
        root = os.geteuid() == 0
        folder.chmod(0o555)
        if root:
            os.seteuid(NOBODY_UID)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o700)

    @contextmanager
    def memory_limit(self, count: int) -> Iterator[None]:
        """Let the process allocate at most `count` more bytes inside the block."""
        limit = resource.getrlimit(resource.RLIMIT_AS)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + count, limit[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limit)

    def run(self, program: str, *arguments: str, **environment: str) -> Command:
        """Run a Python program in its own process."""
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Command(done.returncode, done.stderr)

    def logged(self) -> list[logging.LogRecord]:
        """Return the log records of the package."""
        return [record for record in self.log.records if record.name.startswith("kvsproducer")]


Provocation = Callable[[Place], object]
Table = Mapping[StatusCode, Provocation]


def find_statuses(provoke: Provocation, place: Place) -> set[StatusCode]:
    """Return the statuses that the package reported to the user."""
    try:
        return set(_statuses(provoke(place)))
    except KvsError as error:
        return set(_statuses(error))


def _statuses(evidence: object) -> Iterator[StatusCode]:
    if evidence is None:
        return
    if isinstance(evidence, KvsError):
        assert _raised_at(evidence.__traceback__).startswith(SRC), "not raised by the package"
        yield evidence.status
        if isinstance(evidence.__cause__, KvsError):
            yield from _statuses(evidence.__cause__)
    elif isinstance(evidence, logging.LogRecord):
        yield from _named(evidence.getMessage())
    elif isinstance(evidence, Command):
        assert evidence.exit_code in (1, 2), evidence
        yield from _named(evidence.stderr.partition("\n")[0])
    elif isinstance(evidence, list | tuple) and not hasattr(evidence, "_fields"):
        for part in evidence:
            yield from _statuses(part)
    else:  # an event, or the status of a read
        assert type(evidence).__module__.startswith("kvsproducer."), f"{evidence!r} is not evidence"
        assert not isinstance(evidence, StatusCode), "a status alone proves nothing"
        status = getattr(evidence, "status", None)
        if isinstance(status, StatusCode):
            yield status


def _raised_at(trace: TracebackType | None) -> str:
    """Return the file of the innermost frame."""
    assert trace is not None, "the error was never raised"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename


def _named(text: str) -> Iterator[StatusCode]:
    for name in NAMED.findall(text):
        if name in StatusCode.__members__:
            yield StatusCode[name]
