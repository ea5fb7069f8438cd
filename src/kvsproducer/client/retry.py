"""Whether a client or stream whose retries are used up fails or starts over.

Source: AWS's client gives up when a state was repeated too often. The C producer's continuous retry
then resets the stream, which drops the frames that it holds. Here the policy decides before
anything fails. So no frame is dropped, and the caller sees no temporary failure. The policy is not
asked about a stream that has been ready, because such a stream never gives up during an outage.

The core asks a `RetryPolicy` and has no table of its own. The producer's policy is in
`kvsproducer.producer.continuous_retry`. A policy has no clock and makes no calls.
"""

from __future__ import annotations

from typing import Protocol

from kvsproducer.status import KvsError, StatusCode

__all__ = ["GiveUp", "RetryPolicy"]


class RetryPolicy(Protocol):
    """Decides whether a client or stream whose retries are used up fails."""

    def start_over(
        self, failure: KvsError, cause: StatusCode, *, offline: bool, times: int
    ) -> KvsError | None:
        """Return the error to report if the client or stream starts over, or None if it fails.

        `failure` is the error with which it would fail, `cause` the status of the last call.
        `times` counts how often it has started over without having been ready.
        """


class GiveUp:
    """A policy that never starts over, like AWS's client without continuous retry."""

    def start_over(
        self, failure: KvsError, cause: StatusCode, *, offline: bool, times: int
    ) -> KvsError | None:
        """Return None: the failure is final."""
        del failure, cause, offline, times  # arguments of the protocol
        return None
