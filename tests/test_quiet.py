"""Nothing is written to the console of a program that has configured no logging."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("room", ["producer.engine", "reader", "sources", "endpoint.store", "aio"])
def test_warnings_go_nowhere(room: str) -> None:
    """Whichever room that logs is loaded, and however."""
    program = f"""
import logging, kvsproducer.{room}
logging.getLogger("kvsproducer.{room}").warning("nobody has asked")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ran.stdout, ran.stderr) == ("", "")


def test_the_package_itself_loads_next_to_nothing() -> None:
    """Until it is loaded, Ctrl-C ends a command in a traceback."""
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
