"""One warning for each stream that does not reach its service.

The package logs nothing until the application configures `logging`, and a script may have no event
listener: a live stream with a wrong endpoint would go on trying in silence. So the first failed
round of attempts is a `RuntimeWarning` too, which Python prints by default.
"""

from __future__ import annotations

import logging
import warnings

from kvsproducer import client as core
from kvsproducer.producer.continuous_retry import BEGINS_ANEW
from kvsproducer.status import kvs_error

__all__ = ["UNREACHABLE", "ReachWarnings"]

UNREACHABLE = "does not reach the service"  # in each of the warnings
log = logging.getLogger("kvsproducer")


class ReachWarnings:
    """Warns once for each stream, and once for the client; `where` is what it tries to reach."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._warned: set[str | None] = set()

    def look_at(self, event: core.Event) -> None:
        """Warn if the event is the first failed round of attempts of its stream."""
        if not isinstance(event, core.StreamErrorReported | core.ClientErrorReported):
            return
        if event.status not in BEGINS_ANEW or event.stream in self._warned:
            return
        self._warned.add(event.stream)
        who = "the producer" if event.stream is None else f"stream {event.stream!r}"
        what = "has failed" if event.fatal else "holds its frames, and goes on trying"
        cause = kvs_error(event.status, event.detail)
        try:
            warnings.warn(
                f"{who} {UNREACHABLE} at {self._where}, and {what}: {cause}",
                RuntimeWarning,
                stacklevel=1,
            )
        except Warning as raised:  # the application makes errors of warnings; this is no call of it
            log.warning("%s", raised)

    def forget(self, stream: str) -> None:
        """The stream is closed; another one of its name is warned about again."""
        self._warned.discard(stream)
