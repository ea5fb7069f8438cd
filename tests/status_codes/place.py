"""What a provocation gets to work with, and what counts as evidence that a status arrived.

A provocation raises, or returns evidence: errors that it caught, events, log records, what a read
of an upload said, how a command ended, or any nesting of these. A bare `StatusCode` is none, and
neither is an error that the provocation raised itself.
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
NOBODY = 65534
NAMED = re.compile(r"\b(?:STATUS_)?([A-Z][A-Z0-9_]{4,})\b")


@dataclass(frozen=True)
class Command:
    """How a command of `kvs` ended."""

    exit_code: int
    stderr: str


@dataclass(frozen=True)
class Place:
    """Everything that the provocations of all libraries use."""

    desk: Callable[..., Desk]  # a client core, with a service that answers as it is told
    folder: Path  # an empty one
    patch: pytest.MonkeyPatch
    log: pytest.LogCaptureFixture
    kvs: Callable[..., Command]  # a command, in this process
    video_library: Callable[..., str]  # a video memory library, compiled with these defines
    endpoint_url: Callable[[], str]  # a local endpoint of this test's own

    @contextmanager
    def public_folder(self) -> Iterator[Path]:
        """A folder that also nobody in particular may enter; pytest's own are private."""
        with tempfile.TemporaryDirectory() as name:
            os.chmod(name, 0o755)
            yield Path(name)

    @contextmanager
    def read_only(self, folder: Path) -> Iterator[None]:
        """Within the block the process may look into the folder, not change it; not even root."""
        root = os.geteuid() == 0
        folder.chmod(0o555)
        if root:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o700)

    @contextmanager
    def memory_limit(self, count: int) -> Iterator[None]:
        """Within the block the process gets `count` bytes more, and no byte beyond."""
        limit = resource.getrlimit(resource.RLIMIT_AS)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + count, limit[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limit)

    def run(self, program: str, *arguments: str, **environment: str) -> Command:
        """A Python program in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Command(done.returncode, done.stderr)

    def logged(self) -> list[logging.LogRecord]:
        """What the package has logged so far."""
        return [record for record in self.log.records if record.name.startswith("kvsproducer")]


Provocation = Callable[[Place], object]
Table = Mapping[StatusCode, Provocation]


def arrived(provoke: Provocation, place: Place) -> set[StatusCode]:
    """The statuses that a user was told of."""
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
    else:  # an event, or what an upload's reader was told
        assert type(evidence).__module__.startswith("kvsproducer."), f"{evidence!r} is no evidence"
        assert not isinstance(evidence, StatusCode), "a status alone proves nothing"
        status = getattr(evidence, "status", None)
        if isinstance(status, StatusCode):
            yield status


def _raised_at(trace: TracebackType | None) -> str:
    """The file of the innermost frame."""
    assert trace is not None, "it was never raised"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename


def _named(text: str) -> Iterator[StatusCode]:
    for name in NAMED.findall(text):
        if name in StatusCode.__members__:
            yield StatusCode[name]
