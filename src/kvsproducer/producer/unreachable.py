"""Warn once about each stream that does not reach the service.

The package logs nothing until the application configures `logging`, and a script may have no event
listener. Then a live stream with a wrong endpoint would retry without any message. So the first
failed round of attempts is also reported as a `RuntimeWarning`, which Python prints by default.
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
    """Issues the warnings, one for each stream and one for the client.

    `where` is the endpoint or region that the streams and the client try to reach.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._warned: set[str | None] = set()

    def check(self, event: core.Event) -> None:
        """Warn if the event reports the first failed round of attempts of its stream."""
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
        # The application turns warnings into exceptions; this code has no caller to raise it to.
        except Warning as raised:
            log.warning("%s", raised)

    def forget(self, stream: str) -> None:
        """Forget a closed stream, so that a new stream of the same name is warned about."""
        self._warned.discard(stream)
