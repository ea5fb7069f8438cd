"""Run code in a forked child process, as `multiprocessing` does."""

from __future__ import annotations

import gc
import os
import signal
import time
import warnings
from collections.abc import Callable


def in_child(work: Callable[[], int], within_s: float = 30) -> int:
    """Run `work` in a forked child; return its exit code. Kill a child that hangs.

    The parent first collects garbage of earlier tests. It may contain a codec with threads, and a
    collection in the child would wait for these threads without end.
    """
    gc.collect()
    with warnings.catch_warnings():  # Python 3.12 and newer warn about forks with threads
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
