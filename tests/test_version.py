"""Tests that there is one version number."""

import tomllib
from pathlib import Path

from kvsproducer.version import APPLICATION, VERSION


def test_the_code_and_the_package_state_the_same_version() -> None:
    project = Path(__file__).parent.parent / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == VERSION
    assert f"kvsproducer {VERSION}" == APPLICATION
