"""The beginning of a command line that runs `kvs` in its own process."""

from __future__ import annotations

import sys

KVS = (sys.executable, "-m", "kvsproducer")
