"""The code blocks of the documentation, and what runs them.

A block is fenced by three backticks with a language. Blocks of the languages `python` and `sh` are
run as they stand, in the order of the page, in one folder and with one environment. A comment in
the line above a block says what is special about it:

    <!-- not run: REASON -->      it cannot run here
    <!-- needs: MODULE -->        it runs if the module can be imported
    <!-- run: until SIGTERM -->   a program that goes on until it is stopped
    <!-- run: with pytest -->     a file of tests
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from textwrap import dedent

from tests.waiting import until

__all__ = ["PAGES", "ROOT", "Block", "Shell", "blocks", "check_form"]

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *sorted(DOCS.rglob("*.md")),
]
_FENCE = re.compile(
    r"(?:^(?P<mark>[ ]*<!--(?:.(?!-->))*.-->)\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.DOTALL | re.MULTILINE,
)
_MARK = re.compile(r"<!-- (not run|needs|run): (.+) -->", re.DOTALL)
# Ports that pages use; a free one takes the place of each.
_PORTS = ("8080", "8081", "8443", "9464")
_SERVE = re.compile(r"^(kvs serve [^&\n#]*?)[ ]*(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One code block: `mark` is "", "not run", "needs" or "run", `reason` the text behind it."""

    page: Path
    line: int
    language: str
    code: str
    mark: str
    reason: str

    @property
    def place(self) -> str:
        """Return FILE:LINE of the first line of code, relative to the project."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        mark = _MARK.search(match["mark"] or "")
        kind, reason = mark.groups() if mark else ("", "")
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Block(page, line, match["language"], dedent(match["code"]), kind, reason))
    return found


def check_form(block: Block) -> None:
    """Raise an exception if a block of data is not in the form that its language says."""
    if block.language == "json":
        json.loads(block.code)
    elif block.language == "toml":
        tomllib.loads(block.code)
    elif block.language == "ini":
        parser = ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(block.code)


class Shell:
    """Run the shell blocks of one page in one folder; `export` changes their environment."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
            "HOME": str(folder),
            "COLUMNS": "100",
        }
        self._ports: dict[str, str] = {}
        self._running: list[subprocess.Popen[str]] = []

    def here(self, code: str) -> str:
        """Return a block with free ports in place of those that it names."""
        for port in _PORTS:
            if port in code:
                free = self._ports.setdefault(port, str(_free_port()))
                code = re.sub(rf"\b{port}\b", free, code)
        return code

    def run(self, code: str, timeout: float = 90) -> str:
        """Run a block; return what it printed. Raises AssertionError if it fails.

        A `kvs serve` of its own goes on in the background until the page is done.
        """
        code = _SERVE.sub(
            r"\1 > serve.log 2>&1 &"
            "\nuntil grep -q 'listening on' serve.log; do kill -0 $!; sleep 0.1; done",
            self.here(code),
        )
        after = self.folder / ".environment"
        script = f"set -eu\n{code}\nenv -0 > {after}\n"
        output = self.folder / ".output"
        with output.open("w") as file:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self._running.append(process)
            code_of_exit = process.wait(timeout)
        printed = output.read_text()
        assert code_of_exit == 0, f"exit code {code_of_exit} of\n{code}\n{printed}"
        pairs = (item.partition("=") for item in after.read_text().split("\0") if "=" in item)
        self.environment |= {name: value for name, _, value in pairs}
        return printed

    def run_with_pytest(self, code: str) -> None:
        """Run a block as a file of tests; all of them must pass."""
        (self.folder / "test_page.py").write_text(self.here(code))
        printed = self.run("python -m pytest -q -p no:cacheprovider test_page.py")
        assert " passed" in printed, printed

    def run_until_sigterm(self, code: str) -> None:
        """Run a Python program, end it by SIGTERM once it has printed a line; it must exit well."""
        program = self.folder / "program.py"
        program.write_text(self.here(code))
        output = self.folder / ".output"
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-u", str(program)],
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self._running.append(process)
            until(lambda: output.read_text() or process.poll() is not None)
            process.send_signal(signal.SIGTERM)
            code_of_exit = process.wait(60)
        printed = output.read_text()
        assert code_of_exit in (0, 143), f"exit code {code_of_exit}\n{printed}"
        assert "Traceback" not in printed, printed

    def close(self) -> None:
        """End what still runs in the background."""
        for process in self._running:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait(10)


def _free_port() -> int:
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
