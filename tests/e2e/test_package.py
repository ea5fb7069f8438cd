"""Tests of what is released: wheel and sdist, and the wheel in an empty environment.

They need the modules `build` and `twine` (extra `dev`); the installation needs a package index too.
What is missing is printed as the reason of a skip.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from kvsproducer.version import VERSION


def installed(distribution: str) -> bool:
    """Whether a distribution is installed; a folder of its name does not count."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


ROOT = Path(__file__).resolve().parent.parent.parent
MISSING = [name for name in ("build", "twine", "setuptools") if not installed(name)]
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
NO_INDEX = ("NewConnectionError", "No matching distribution", "ConnectTimeout", "ProxyError")
# A stream of an application's own frames: the extra `media` is not installed.
PROGRAM = """
import kvsproducer as kvs
from kvsproducer.endpoint import local_endpoint

sets = bytes.fromhex("000000016742c00ada189a1000000300100000030328f1226a0000000168ce039c80")
with local_endpoint() as endpoint:
    with kvs.Producer(endpoint_url=endpoint.url, region_name="us-west-2") as producer:
        with producer.open_stream("front-door", kvs.StreamInfo.video("h264")) as stream:
            data = sets + b"\\0\\0\\0\\1\\x65" + b"\\xab" * 500
            stream.put_frame(kvs.Frame(data, kvs.now(), key_frame=True))
            print(stream.flush().persisted, "stored")
try:
    kvs.put_media("testsrc:", "front-door", region_name="us-west-2")
except kvs.KvsError as error:
    print(error)
"""

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def run(*command: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of a copy of the sources."""
    folder = tmp_path_factory.mktemp("released")
    copy = folder / "sources"
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "src" / "kvsproducer").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    dist = folder / "dist"
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, copy)
    assert done.returncode == 0, done.stdout + done.stderr
    return dist


@pytest.mark.timeout(240)
def test_wheel_and_sdist_are_complete(released: Path) -> None:
    """Data files are inside, the metadata is right, and `twine check` has no objection."""
    (wheel,) = released.glob("*.whl")
    (sdist,) = released.glob("*.tar.gz")
    checked = run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    assert checked.returncode == 0, checked.stdout
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"kvsproducer-{VERSION}.dist-info/METADATA").decode()
    written = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "kvsproducer").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert written <= set(names)
    fields = Parser().parsestr(metadata)
    assert fields["Version"] == VERSION
    classifiers = fields.get_all("Classifier") or []
    for version in PYTHONS:
        assert f"Programming Language :: Python :: {version}" in classifiers
    with tarfile.open(sdist) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert folders >= {"src", "README.md", "LICENSE", "pyproject.toml"}
    assert "tests" not in folders


@pytest.mark.timeout(300)
def test_the_wheel_works_in_an_empty_environment(released: Path, tmp_path: Path) -> None:
    """Without extras: `kvs --version`, frames of one's own, and a hint at the missing extra."""
    assert run(sys.executable, "-m", "venv", tmp_path / "venv").returncode == 0
    programs = tmp_path / "venv" / "bin"
    (wheel,) = released.glob("*.whl")
    installed = run(programs / "pip", "install", "--quiet", wheel, timeout=200)
    if any(sign in installed.stderr for sign in NO_INDEX):
        pytest.skip("no package index can be reached")
    assert installed.returncode == 0, installed.stderr
    assert run(programs / "kvs", "--version").stdout.strip() == f"kvs {VERSION}"
    done = run(programs / "python", "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    assert "1 stored" in done.stdout
    assert "kvsproducer[media]" in done.stdout
