"""Tests of the PyInstaller hook: a bundled application runs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from kvsproducer._pyinstaller import get_hook_dirs

APPLICATION = """
import sys
import kvsproducer as kvs
print(kvs.explain(4009).entry.name)
print(kvs.put_media("testsrc:duration=0.2,size=64x64", "frozen", endpoint_url=sys.argv[1]).frames)
"""


def test_hook_dirs_contain_the_hook() -> None:
    """PyInstaller looks for `hook-NAME.py` in the folders that `get_hook_dirs` returns."""
    (folder,) = get_hook_dirs()
    assert (Path(folder) / "hook-kvsproducer.py").is_file()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_bundled_application_runs(endpoint_url: str, tmp_path: Path) -> None:
    """The bundle has the status texts, modules imported by name, botocore and PyAV."""
    if find_spec("PyInstaller") is None:
        pytest.skip("PyInstaller is not installed: pip install pyinstaller")
    (tmp_path / "app.py").write_text(APPLICATION)
    build = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR"]
    hooks = [f"--additional-hooks-dir={folder}" for folder in get_hook_dirs()]
    subprocess.run([*build, *hooks, "app.py"], cwd=tmp_path, check=True, timeout=500)
    bundle = [str(tmp_path / "dist" / "app" / "app"), endpoint_url]
    ran = subprocess.run(bundle, capture_output=True, text=True, timeout=60)
    assert ran.stdout.split() == ["STATUS_ACK_ERR_FRAGMENT_METADATA_LIMIT_REACHED", "5"], ran.stderr
