"""The public surface: every listed name exists, and is loaded with its first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import kvsproducer as kvs
from kvsproducer import aio, endpoint, heap, mkv


@pytest.mark.parametrize("module", [kvs, aio, endpoint, heap, mkv], ids=lambda m: m.__name__)
def test_listed_names_exist(module: object) -> None:
    """Every name in `__all__` exists, and occurs once."""
    names = module.__all__  # type: ignore[attr-defined]
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(set(names)) == len(names)


def test_star_import_gives_the_listed_names() -> None:
    """`from kvsproducer import *` in a fresh interpreter gives exactly `__all__`."""
    code = """if True:
        from kvsproducer import *
        import kvsproducer
        print(set(kvsproducer.__all__) - set(dir()))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelled name is an AttributeError, and `dir` lists names that are not loaded yet."""
    with pytest.raises(AttributeError, match="no attribute 'Producr'"):
        _ = kvs.Producr  # type: ignore[attr-defined]
    assert not hasattr(kvs, "view")
    assert {"Producer", "get_media", "put_media"} <= set(dir(kvs))


def test_import_of_main_runs_no_command() -> None:
    """Importing `kvsproducer.__main__`, as tools for whole packages do, runs no command."""
    code = "import kvsproducer.__main__; print('still here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("still here", "", 0)
