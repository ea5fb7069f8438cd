"""Whether a client or stream that has run out of attempts fails, or begins anew.

Facts: AWS's client gives up when a state was repeated too often; the C producer's continuous retry
then resets the stream, which drops what it holds. Here the question is asked before anything
fails, so that nothing is dropped and nobody sees a failure that does not last. Who has been ready
once is not asked about: an outage never ends it.

The core asks a `RetryPolicy` and keeps no table of its own; the producer's is in
`kvsproducer.producer.continuous_retry`. A policy has no clock and makes no calls.
"""

from __future__ import annotations

from typing import Protocol

from kvsproducer.status import KvsError, StatusCode

__all__ = ["GiveUp", "RetryPolicy"]


class RetryPolicy(Protocol):
    """Decides on failures."""

    def begin_anew(
        self, failure: KvsError, cause: StatusCode, *, offline: bool, times: int
    ) -> KvsError | None:
        """What to report when it is to go on all the same, None when it is to fail.

        `failure` is the status that it would fail with, `cause` what the last call met with;
        `times` counts how often it has begun anew without having been ready.
        """


class GiveUp:
    """Nobody begins anew: AWS's client by itself."""

    def begin_anew(
        self, failure: KvsError, cause: StatusCode, *, offline: bool, times: int
    ) -> KvsError | None:
        """Always None."""
        del failure, cause, offline, times  # of the shape of the protocol
        return None
