"""`kvs` as a process of its own: the start of a command line."""

from __future__ import annotations

import sys

KVS = (sys.executable, "-m", "kvsproducer")
