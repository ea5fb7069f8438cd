"""Type checkers accept and refuse what they should, and editors complete the public names."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MARKED = {
    number
    for number, line in enumerate((HERE / "bad.py").read_text().splitlines(), 1)
    if line.endswith("# refused")
}


def lines(command: list[str], file: str) -> set[int]:
    """Run a type checker; return the numbers of the lines in which it finds an error."""
    done = subprocess.run(
        [*command, f"tests/typing/{file}"], cwd=ROOT, capture_output=True, text=True
    )
    return {int(n) for n in re.findall(rf"{file}:(\d+)(?::\d+)?(?: -)?:? error", done.stdout)}


def test_mypy() -> None:
    """In its strict mode."""
    command = [sys.executable, "-m", "mypy", "--strict"]
    assert lines(command, "bad.py") == MARKED
    assert lines(command, "good.py") == set()


@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is missing: npm i -g pyright")
def test_pyright() -> None:
    """Finds the same errors."""
    command = ["pyright", "--pythonpath", sys.executable]
    assert lines(command, "bad.py") == MARKED
    assert lines(command, "good.py") == set()


@pytest.mark.skipif(
    importlib.util.find_spec("jedi") is None, reason="jedi is missing: pip install jedi"
)
def test_jedi_completes_the_public_names() -> None:
    """Of the package, and of what it gives."""
    import jedi

    import kvsproducer as kvs

    source = "import kvsproducer as kvs\nkvs.Producer().\nkvs.StreamInfo.\nkvs."
    script = jedi.Script(source)
    names = [{found.name for found in script.complete(line)} for line in (2, 3, 4)]
    assert {"open_stream", "close", "metrics"} <= names[0]
    assert {"video", "audio", "audio_video"} <= names[1]
    assert set(kvs.__all__) <= names[2]
