"""Continuous retry: what a camera does that has nobody to restart it.

Facts: the C producer's second set of stream callbacks. Three things, as tables:

- which failures are no end: a stream that has never been ready, and the client, begin anew after
  them. AWS's reset drops what a stream holds; ours keeps it, within the stream's buffer.
- staleness: the service has not said BUFFERING for too long: the connection is reset.
- latency: more media waits to be sent than the stream allows: the connection is reset.

The two machines differ from AWS's: a sign has to last (media that was held back is sent faster than
it plays, so that it is unacknowledged for seconds of media within milliseconds), a connection that
works is never cut, and both find back to NORMAL (AWS's staleness machine never does, and its
latency machine spends a step on an action that does not exist). Offline streams are left alone:
they would rather be told. The machines have no clock: `now` is an argument, a monotonic time in
ticks.
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
        # What a stream would fail with ("PIC-retriable") ...
        _S.DESCRIBE_STREAM_CALL_FAILED,
        _S.CREATE_STREAM_CALL_FAILED,
        _S.GET_STREAMING_TOKEN_CALL_FAILED,
        _S.GET_STREAMING_ENDPOINT_CALL_FAILED,
        _S.PUT_STREAM_CALL_FAILED,
        _S.INVALID_TOKEN_EXPIRATION,
        # ... and a client, which AWS's never gets over.
        _S.CLIENT_AUTH_CALL_FAILED,
        _S.CREATE_CLIENT_CALL_FAILED,
    }
)

_PASSES: Final = frozenset(
    {
        # What the last call met with, when it goes away by itself: the network, the service, and
        # what AWS's producer calls retriable of its own and of credentials ("producer-retriable",
        # "common-retriable"), which are unknown errors to the core (see `results`).
        # Who is not authorized, or asks for what is not there, is told instead.
        _S.SUCCESS,
        _S.SERVICE_CALL_TIMEOUT_ERROR,
        _S.SERVICE_CALL_UNKOWN_ERROR,
    }
)


_STALE: Final = core.ConnectionStale


class Health(Enum):
    """What is thought of a connection."""

    NORMAL = "normal"
    SUSPECT = "suspect"  # there was a sign; it has to last
    QUIET = "quiet"  # it was reset: signs mean nothing yet


@dataclass(frozen=True, slots=True)
class WatchRule:
    """How one kind of sign is taken; ticks."""

    patience: int  # how long a sign has to last
    quiet: int  # after a reset; twice as long after each in a row
    longest_quiet: int
    calm: int  # after the quiet time: so long without a sign, and all is forgotten
    acks_clear: bool  # whether any word of the service disproves it


_PATIENCE: Final = 5 * TICKS_PER_SECOND  # ours
_LONGEST_QUIET: Final = 8 * STALE_GRACE_PERIOD  # ours: a slow line is not cured by resets

WATCHES: Final[dict[type[core.Event], WatchRule]] = {
    core.ConnectionStale: WatchRule(
        _PATIENCE, STALE_GRACE_PERIOD, _LONGEST_QUIET, LATENCY_VERIFICATION_PERIOD, acks_clear=True
    ),
    core.StreamLatencyPressure: WatchRule(
        _PATIENCE, STALE_GRACE_PERIOD, _LONGEST_QUIET, LATENCY_VERIFICATION_PERIOD, acks_clear=False
    ),
}


class ConnectionWatch:
    """The machine for one kind of sign of one stream.

    | in | a sign | leads to |
    |---|---|---|
    | NORMAL | any | SUSPECT |
    | SUSPECT | none for the patience, then one | SUSPECT, from now on |
    | SUSPECT | less bad than the first, after the patience | SUSPECT, from now on |
    | SUSPECT | as bad or worse, after the patience | QUIET, and the connection is reset |
    | QUIET | within the quiet time | QUIET |
    | QUIET | later | SUSPECT |
    | QUIET | none for the calm time after the quiet time | NORMAL, as if nothing had been |

    A new connection, and for staleness an ack, end a suspicion.
    """

    __slots__ = ("_amount", "_resets", "_rule", "_seen", "_since", "_until", "state")

    def __init__(self, rule: WatchRule) -> None:
        self._rule = rule
        self.state = Health.NORMAL
        self._since = 0  # of the suspicion
        self._seen = 0  # the newest sign
        self._amount = 0  # how bad it was then
        self._until = 0  # the end of the quiet time
        self._resets = 0  # in a row

    def sign(self, amount: int, now: int) -> bool:
        """Take a sign, `amount` ticks bad; whether the connection is to be reset."""
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
        if amount < self._amount:  # it is getting better by itself
            self._suspect(amount, now)
            return False
        self.state = Health.QUIET
        self._until = now + min(rule.quiet << self._resets, rule.longest_quiet)
        self._resets += 1
        return True

    def _suspect(self, amount: int, now: int) -> None:
        self.state, self._since, self._amount = Health.SUSPECT, now, amount

    def heard(self) -> None:
        """The service has said something."""
        if self._rule.acks_clear:
            self.connected()

    def connected(self) -> None:
        """There is a new connection, which is not suspected of anything."""
        if self.state is Health.SUSPECT:
            self.state = Health.NORMAL


class ContinuousRetry:
    """The policy of one producer: the core asks it about failures, the engine about connections."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.watches: dict[
            str, dict[type[core.Event], ConnectionWatch]
        ] = {}  # of streams that had a sign

    def start_over(
        self, failure: KvsError, cause: StatusCode, *, offline: bool, times: int
    ) -> KvsError | None:
        """See `kvsproducer.client.RetryPolicy`: what to report when it goes on, or None."""
        if not self.enabled or offline or failure.status not in BEGINS_ANEW or cause not in _PASSES:
            return None
        if not times:
            return failure
        told = f"begun anew {times} times, and failed again: {failure.status.name}; "
        return kvs_error(_S.CONTINUOUS_RETRY_RESET_FAILED, told + failure.detail)

    def troubled(self, stream: core.Stream, now: int) -> str:
        """Look at a stream whose connection does badly; "" or why it is to be reset."""
        why = ""
        for sign in stream.take_troubles():
            if self._sign(stream, type(sign), sign.duration, now):
                why = _WHY[type(sign)].format(sign.duration / TICKS_PER_SECOND)
        return why

    def blocked(self, stream: core.Stream, duration: int, now: int) -> str:
        """The peer has taken no data for so long; "" or why the connection is to be reset.

        Nothing is read meanwhile, so the core sees no sign of staleness. A stream that has no
        `connection_staleness_duration`, such as an offline one, does not care.
        """
        limit = ticks(stream.info.connection_staleness_duration)
        if not limit or duration < limit or not self._sign(stream, _STALE, duration, now):
            return ""
        return f"no data were taken for {duration / TICKS_PER_SECOND:.1f} s"

    def _sign(self, stream: core.Stream, kind: type[core.Event], amount: int, now: int) -> bool:
        """Take a sign; whether to reset the connection."""
        if not self.enabled or stream.state is not core.StreamState.STREAMING:
            return False
        watches = self.watches.setdefault(stream.name, {})
        if kind not in watches:
            watches[kind] = ConnectionWatch(WATCHES[kind])
        return watches[kind].sign(amount, now)

    def heard(self, stream: str) -> None:
        """The service has sent an ack."""
        for watch in self.watches.get(stream, {}).values():
            watch.heard()

    def connected(self, stream: str) -> None:
        """An upload has begun."""
        for watch in self.watches.get(stream, {}).values():
            watch.connected()

    def forget(self, stream: str) -> None:
        """The stream is freed."""
        self.watches.pop(stream, None)


_WHY: Final[dict[type[core.Event], str]] = {
    core.ConnectionStale: "{:.1f} s of media were sent without an ack",
    core.StreamLatencyPressure: "{:.1f} s of media wait to be sent, and no fewer than before",
}
