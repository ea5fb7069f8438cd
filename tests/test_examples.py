"""Run the programs in examples/ with the arguments that their docstrings show."""

from __future__ import annotations

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
EXAMPLES = {
    "iot.py": ["front-door", "1"],
    "own_credentials.py": ["clip.mp4", "front-door"],
    "put_file.py": ["clip.mp4", "front-door"],
    "live_encoder.py": ["front-door", "2"],
    "events.py": ["front-door", "1"],
    "many_cameras.py": ["3", "2"],
    "metrics.py": ["front-door", "1"],
    "rtsp_camera.py": ["clip.mp4", "front-door", "2"],
    "read_back.py": ["front-door", "fragments"],
}


@pytest.fixture(scope="session")
def iot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IotEndpoint]:
    """Start a credential endpoint of AWS IoT for all examples."""
    with IotEndpoint(tmp_path_factory.mktemp("iot")) as endpoint:
        yield endpoint


@pytest.fixture
def _front_door(
    quick_url: str, iot: IotEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Prepare a folder with a clip, endpoints in the environment, and media in front-door."""
    for name, value in iot.environment().items():
        monkeypatch.setenv(name, value)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", quick_url)
    write_clip("clip.mp4", PatternSpec(duration_s=Fraction(2), audio="aac"))
    kvs.put_media("clip.mp4", "front-door", retention="PT1H")


@pytest.mark.usefixtures("_front_door")
@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_example(name: str) -> None:
    """An example runs with the arguments that its text shows, and prints something."""
    command = [sys.executable, str(ROOT / "examples" / name), *EXAMPLES[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("example", sorted(set(EXAMPLES) - {"iot.py"}))  # it reads its keys first
def test_example_without_arguments_prints_its_usage(example: str) -> None:
    """An example without arguments prints its docstring, which shows the command line."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert f"python examples/{example} " in ran.stderr
    assert "Traceback" not in ran.stderr
