"""Forked children, as `multiprocessing` makes them too."""

from __future__ import annotations

import gc
import os
import signal
import time
import warnings
from collections.abc import Callable


def in_child(work: Callable[[], int], within_s: float = 30) -> int:
    """The exit code of a forked child that does `work`; one that hangs is killed.

    What the tests before have left is collected in the parent: a codec among it has threads, which
    a collection in the child would wait for.
    """
    gc.collect()
    with warnings.catch_warnings():  # Python 3.12 and newer warn of what is tested here
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    deadline = time.monotonic() + within_s
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])
