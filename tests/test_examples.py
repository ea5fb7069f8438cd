"""What the documentation shows works: every Python block of README and docs, and every example."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from tests.iot import IotEndpoint

import kvsproducer as kvs
from kvsproducer.sources.pyav import write_clip
from kvsproducer.sources.spec import PatternSpec

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXAMPLES = {
    "iot.py": ["front-door", "1"],
    "own_credentials.py": ["clip.mp4", "front-door"],
    "put_file.py": ["clip.mp4", "front-door"],
    "live_encoder.py": ["front-door", "2"],
    "events.py": ["front-door", "1"],
    "many_cameras.py": ["3", "2"],
    "metrics.py": ["front-door", "1"],
    "read_back.py": ["front-door", "fragments"],
}
SLICE = b"\x00\x00\x00\x01\x65" + b"\xab" * 500
PARAMETER_SETS = bytes.fromhex(
    "000000016742c00ada189a1000000300100000030328f1226a0000000168ce039c80"
)


NEEDS_A_DEVICE = {"docs/reference/video-memory.md-1"}  # tests/heap builds such a library
BLOCKS = {
    name: code
    for page in PAGES
    for number, code in enumerate(BLOCK.findall(page.read_text()), start=1)
    if (name := f"{page.relative_to(ROOT)}-{number}") not in NEEDS_A_DEVICE
}


def camera() -> Iterator[tuple[bytes, bool]]:
    """What the pages call a camera: two access units, the first of them a key frame."""
    yield PARAMETER_SETS + SLICE, True
    yield SLICE.replace(b"\x65", b"\x41"), False


@pytest.fixture(scope="session")
def iot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IotEndpoint]:
    """AWS IoT's credential endpoint, for all pages and examples."""
    with IotEndpoint(tmp_path_factory.mktemp("iot")) as endpoint:
        yield endpoint


@pytest.fixture
def _front_door(
    quick_url: str, iot: IotEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder with a clip, endpoints in the environment, and something stored in front-door."""
    for name, value in iot.environment().items():
        monkeypatch.setenv(name, value)
    import kvsproducer as kvs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", quick_url)
    write_clip("clip.mp4", PatternSpec(duration_s=Fraction(2), audio="aac"))
    kvs.put_media("clip.mp4", "front-door", retention="PT1H")


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """What a page configures ends with it."""
    loggers = [logging.getLogger(), logging.getLogger("kvsproducer")]
    before = [(one, one.level, list(one.handlers)) for one in loggers]
    yield
    for one, level, handlers in before:
        for handler in set(one.handlers) - set(handlers):
            one.removeHandler(handler)
            handler.close()
        one.setLevel(level)


@pytest.mark.usefixtures("_front_door", "_logging_as_before")
@pytest.mark.parametrize("code", BLOCKS.values(), ids=BLOCKS)
def test_documentation(code: str) -> None:
    """A block runs as it stands, with a camera and a clip at hand."""
    names: dict[str, object] = {"camera": camera, "__name__": "__main__"}
    try:
        exec(compile(code, "documentation", "exec"), names)
    finally:
        for value in names.values():  # one that only shows how to open a producer leaves it open
            if isinstance(value, kvs.Producer):
                value.close(0)


@pytest.mark.usefixtures("_front_door")
@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_example(name: str) -> None:
    """An example runs with the arguments that its text shows, and says something."""
    command = [sys.executable, str(ROOT / "examples" / name), *EXAMPLES[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "example", sorted(set(EXAMPLES) - {"iot.py"})
)  # it asks for its keys first
def test_an_example_without_arguments_says_what_it_takes(example: str) -> None:
    """Its docstring, which has the line to type; no traceback."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert f"python examples/{example} " in ran.stderr
    assert "Traceback" not in ran.stderr
