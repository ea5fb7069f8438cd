"""Continuous retry: restart failed streams automatically, because a camera has no operator.

Source: the C producer's second set of stream callbacks. The policy has three parts, written as
tables:

- Failures that are retried. If a stream that has never been ready, or the client, fails with one of
  these, it starts again. AWS's reset drops the frames of the stream; ours keeps them, within the
  limits of the stream's buffer.
- Staleness: if the service has sent no BUFFERING ack for too long, the connection is reset.
- Latency: if more media waits to be sent than the stream allows, the connection is reset.

The state machines for staleness and latency differ from AWS's in three ways. A sign of trouble must
last for some time (media that was held back is sent faster than it plays, so within milliseconds
there may be seconds of media without an ack). A connection that works is never reset. And both
machines return to NORMAL (AWS's staleness machine never does, and its latency machine has a step
for an action that does not exist).

Offline streams are not retried; they report their failures. The machines read no clock: `now` is an
argument, the monotonic time in ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_SECOND, ticks
from kvsproducer.limits import LATENCY_VERIFICATION_PERIOD, STALE_GRACE_PERIOD
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = [
    "BEGINS_ANEW",
    "WATCHES",
    "ConnectionWatch",
    "ContinuousRetry",
    "Health",
    "WatchRule",
]

_S = StatusCode

BEGINS_ANEW: Final = frozenset(
    {
        # Failures of a stream ("PIC-retriable") ...
        _S.DESCRIBE_STREAM_CALL_FAILED,
        _S.CREATE_STREAM_CALL_FAILED,
        _S.GET_STREAMING_TOKEN_CALL_FAILED,
        _S.GET_STREAMING_ENDPOINT_CALL_FAILED,
        _S.PUT_STREAM_CALL_FAILED,
        _S.INVALID_TOKEN_EXPIRATION,
        # ... and of the client, from which AWS's client never recovers.
        _S.CLIENT_AUTH_CALL_FAILED,
        _S.CREATE_CLIENT_CALL_FAILED,
    }
)

_PASSES: Final = frozenset(
    {
        # Causes that may disappear without a change by the user: failures of the network and the
        # service, and those that AWS's producer calls "producer-retriable" and "common-retriable",
        # which the core sees as unknown errors (see `results`). Missing permissions and missing
        # resources are reported instead.
        _S.SUCCESS,
        _S.SERVICE_CALL_TIMEOUT_ERROR,
        _S.SERVICE_CALL_UNKOWN_ERROR,
    }
)


_STALE: Final = core.ConnectionStale


class Health(Enum):
    """The state of a `ConnectionWatch`."""

    NORMAL = "normal"
    SUSPECT = "suspect"  # there was a sign of trouble, which has to last before a reset
    QUIET = "quiet"  # the connection was reset; signs are ignored for a while


@dataclass(frozen=True, slots=True)
class WatchRule:
    """The parameters for one kind of sign of trouble; times in ticks."""

    patience: int  # how long a sign has to last before the connection is reset
    quiet: int  # how long signs are ignored after a reset; doubled with each further reset
    longest_quiet: int  # the limit of that doubling
    calm: int  # how long without a sign after the quiet time until the machine starts from NORMAL
    acks_clear: bool  # whether an ack of the service ends the suspicion


_PATIENCE: Final = 5 * TICKS_PER_SECOND  # our choice
_LONGEST_QUIET: Final = 8 * STALE_GRACE_PERIOD  # our choice: resets do not help a slow network

WATCHES: Final[dict[type[core.Event], WatchRule]] = {
    core.ConnectionStale: WatchRule(
        _PATIENCE, STALE_GRACE_PERIOD, _LONGEST_QUIET, LATENCY_VERIFICATION_PERIOD, acks_clear=True
    ),
    core.StreamLatencyPressure: WatchRule(
        _PATIENCE, STALE_GRACE_PERIOD, _LONGEST_QUIET, LATENCY_VERIFICATION_PERIOD, acks_clear=False
    ),
}


class ConnectionWatch:
    """The state machine for one stream and one kind of sign of trouble.

    Each sign reports a duration, its amount. In the table, "patience", "quiet time" and "calm time"
    are the times of the `WatchRule`, and "first" is the sign that began the suspicion. "Restarted"
    means that a new suspicion begins with this sign.

    | state | sign | next state |
    |---|---|---|
    | NORMAL | any | SUSPECT |
    | SUSPECT | more than the patience after the previous sign | SUSPECT, restarted |
    | SUSPECT | the patience or more after the first, with a smaller amount | SUSPECT, restarted |
    | SUSPECT | as before, but not with a smaller amount | QUIET; the connection is reset |
    | QUIET | within the quiet time | QUIET |
    | QUIET | after the quiet time | SUSPECT |
    | QUIET | no sign during the calm time after the quiet time | NORMAL; the count of resets is 0 |

    A new connection changes SUSPECT to NORMAL, and so does an ack if the rule has `acks_clear`.
    """

    __slots__ = ("_amount", "_resets", "_rule", "_seen", "_since", "_until", "state")

    def __init__(self, rule: WatchRule) -> None:
        self._rule = rule
        self.state = Health.NORMAL
        self._since = 0  # when the suspicion began
        self._seen = 0  # time of the newest sign
        self._amount = 0  # amount of the first sign of the suspicion
        self._until = 0  # end of the quiet time
        self._resets = 0  # number of resets without a calm time between them

    def sign(self, amount: int, now: int) -> bool:
        """Process a sign of trouble; return whether the connection must be reset.

        `amount` is the duration that the sign reports, in ticks.
        """
        rule = self._rule
        if now - self._until > rule.calm:
            self._resets = 0
        lapsed = self.state is not Health.SUSPECT or now - self._seen > rule.patience
        self._seen = now
        if self.state is Health.QUIET and now < self._until:
            return False
        if lapsed:
            self._suspect(amount, now)
        if now - self._since < rule.patience:
            return False
        if amount < self._amount:  # the connection is recovering
            self._suspect(amount, now)
            return False
        self.state = Health.QUIET
        self._until = now + min(rule.quiet << self._resets, rule.longest_quiet)
        self._resets += 1
        return True

    def _suspect(self, amount: int, now: int) -> None:
        self.state, self._since, self._amount = Health.SUSPECT, now, amount

    def ack_received(self) -> None:
        """Process an ack of the service, which ends a suspicion if the rule has `acks_clear`."""
        if self._rule.acks_clear:
            self.connection_opened()

    def connection_opened(self) -> None:
        """Process a new connection, which ends a suspicion."""
        if self.state is Health.SUSPECT:
            self.state = Health.NORMAL


class ContinuousRetry:
    """The retry policy of one producer.

    The core calls `start_over` for failures; the engine calls the other methods for connections.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        # By stream name; only streams that had a sign.
        self.watches: dict[str, dict[type[core.Event], ConnectionWatch]] = {}

    def start_over(
        self, failure: KvsError, cause: StatusCode, *, offline: bool, times: int
    ) -> KvsError | None:
        """Return the error to report if the stream starts again, or None if it must fail.

        The arguments are those of `kvsproducer.client.RetryPolicy`.
        """
        if not self.enabled or offline or failure.status not in BEGINS_ANEW or cause not in _PASSES:
            return None
        if not times:
            return failure
        detail = f"restarted {times} times, and failed again: {failure.status.name}; "
        return kvs_error(_S.CONTINUOUS_RETRY_RESET_FAILED, detail + failure.detail)

    def check_connection(self, stream: core.Stream, now: int) -> str:
        """Process a connection's signs of trouble; return why it must be reset, or ""."""
        why = ""
        for sign in stream.take_troubles():
            if self._sign(stream, type(sign), sign.duration, now):
                why = _WHY[type(sign)].format(sign.duration / TICKS_PER_SECOND)
        return why

    def check_blocked(self, stream: core.Stream, duration: int, now: int) -> str:
        """Process a blocked write; return why the connection must be reset, or "".

        `duration` is for how long the service has read no data, in ticks. While a write is blocked,
        the core is not asked for data, so it cannot detect the problem itself. A stream without
        `connection_staleness_duration`, such as an offline stream, has no limit.
        """
        limit = ticks(stream.info.connection_staleness_duration)
        if not limit or duration < limit or not self._sign(stream, _STALE, duration, now):
            return ""
        return f"the service has read no data for {duration / TICKS_PER_SECOND:.1f} s"

    def _sign(self, stream: core.Stream, kind: type[core.Event], amount: int, now: int) -> bool:
        """Process a stream's sign of trouble; return whether its connection must be reset."""
        if not self.enabled or stream.state is not core.StreamState.STREAMING:
            return False
        watches = self.watches.setdefault(stream.name, {})
        if kind not in watches:
            watches[kind] = ConnectionWatch(WATCHES[kind])
        return watches[kind].sign(amount, now)

    def ack_received(self, stream: str) -> None:
        """Process an ack for a stream."""
        for watch in self.watches.get(stream, {}).values():
            watch.ack_received()

    def connection_opened(self, stream: str) -> None:
        """Process the start of an upload of a stream."""
        for watch in self.watches.get(stream, {}).values():
            watch.connection_opened()

    def forget(self, stream: str) -> None:
        """Remove the watches of a freed stream."""
        self.watches.pop(stream, None)


_WHY: Final[dict[type[core.Event], str]] = {
    core.ConnectionStale: "{:.1f} s of media were sent without an ack",
    core.StreamLatencyPressure: "{:.1f} s of media wait to be sent, and no fewer than before",
}
