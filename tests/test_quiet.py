"""Tests that the package writes nothing to the console if logging is not configured."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["producer.engine", "reader", "sources", "endpoint.store", "aio"]
)
def test_warnings_are_not_printed(module: str) -> None:
    """This holds for each package that logs, imported first."""
    program = f"""
import logging, kvsproducer.{module}
logging.getLogger("kvsproducer.{module}").warning("a warning that is not configured")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ran.stdout, ran.stderr) == ("", "")


def test_importing_the_package_loads_few_modules() -> None:
    """A short import matters, because Ctrl-C during it prints a traceback."""
    program = """
import sys
before = set(sys.modules)
import kvsproducer.cli
print(*sorted(set(sys.modules) - before))
"""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path = {sys.path!r}\n{program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not {"logging", "re", "typing"} & set(ran.stdout.split()), ran.stdout
