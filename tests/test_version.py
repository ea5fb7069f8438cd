"""Tests that the version is stated in one place."""

import tomllib
from pathlib import Path

from kvsproducer.version import APPLICATION, VERSION


def test_the_package_takes_its_version_from_the_code() -> None:
    """pyproject.toml has no version of its own."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    pyproject = tomllib.loads(text)
    assert "version" not in pyproject["project"]
    source = pyproject["tool"]["setuptools"]["dynamic"]["version"]
    assert source == {"attr": "kvsproducer.version.VERSION"}
    assert f"kvsproducer {VERSION}" == APPLICATION
