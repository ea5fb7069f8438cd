"""Quiet until the application configures logging: a library does not write to its user's console.

Imported by the rooms that log, not by the package itself: `logging` would take most of the time of
`import kvsproducer`, in which nothing of ours can answer Ctrl-C yet.
"""

import logging

__all__: list[str] = []

logging.getLogger("kvsproducer").addHandler(logging.NullHandler())
