"""Credentials that stay fresh: a provider's, held until they are about to expire.

A provider is asked when less than 38 s of life is left (the C producer's grace: 30 s that an upload
needs, and some to spare), and after 40 minutes when it names no expiration. If it fails then, what
is held serves for as long as it lives; the failure is raised once that is over. Callers that come
while another one is asking wait for that answer, so that a fleet of streams asks once.

Credentials may end early: a role's sessions are revoked, a file is rewritten by a cron job. When
the service refuses what is held (`refuse`), the provider is asked again at once. While it gives the
same again, it is asked at most once per `REFUSED_CREDENTIALS_PAUSE`, and the refused credentials
are handed out, since the service may have been wrong.

An expiration is a time of the service's, so it is compared with the service's time. A machine whose
clock is ahead would take fresh credentials for expired ones. Then it would make no calls, and get
no answer whose Date tells the right time; so `learn` asks for one. The provider is also asked when
credentials have been held for their life by the monotonic clock: a wall clock that is set back does
not make them live longer. Pauses follow the monotonic clock.

The provider may block, so `get` is for threads, any number of them. `at_hand` gives what is held
without blocking. A provider that never returns does not block callers for longer than a minute.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.service.clock import monotonic, now
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.credentials.expiration import check_not_past
from kvsproducer.service.credentials.own import OwnCredentials
from kvsproducer.service.credentials.provider import (
    CachingProvider,
    CredentialsProvider,
    PlacedProvider,
    PromptProvider,
)
from kvsproducer.service.network import Network
from kvsproducer.status import KvsError, StatusCode, kvs_error, with_detail

__all__ = ["FreshCredentials"]

log = logging.getLogger("kvsproducer.credentials")

_PAUSE = limits.REFUSED_CREDENTIALS_PAUSE


class FreshCredentials:
    """What a provider gives, asked again when due.

    `clock` gives the wall-clock time in ticks since 1970, `steady` the monotonic time in ticks.
    With `hold` False the provider is asked each time: it holds its credentials itself. `skew` is
    what the service's clock is ahead of `clock`, `network` the producer's; `learn` finds out about
    the former (blocking), and returns whether it was another than thought.
    """

    def __init__(
        self,
        provider: CredentialsProvider,
        *,
        hold: bool = True,
        clock: Callable[[], int] = now,
        steady: Callable[[], int] = monotonic,
        skew: ClockSkew | None = None,
        network: Network | None = None,
        learn: Callable[[], bool] = lambda: False,
    ) -> None:
        self._provider = provider
        self._hold = hold
        self._clock = clock
        self._steady = steady
        self._skew = skew or ClockSkew()
        self._network = network
        self._learn = learn
        self._lock = threading.Lock()
        self._asked = 0  # how often the provider was asked
        self._held: AwsCredentials | None = None
        self._due = 0  # when the provider is asked at the latest, monotonic
        self._failure: KvsError | None = None
        self._refused: AwsCredentials | None = None
        self._renew_at = 0  # not before that for refused credentials, monotonic

    def refuse(self, credentials: AwsCredentials) -> None:
        """Note that the service refuses requests signed with these; never blocks."""
        self._refused = credentials

    def get(self, *, life: int = 0) -> AwsCredentials:
        """Credentials with at least `life` ticks left, if they can be had; blocks.

        Raises what the provider raises when there is nothing left to use instead,
        IOT_EXPIRATION_OCCURS_IN_PAST when it gives what has expired, and OPERATION_TIMED_OUT when
        somebody else has been asking it for a minute.
        """
        asked = self._asked
        with self._turn():
            renew = self._refused is not None and self._is_refused()
            if renew or self._is_due():
                if renew or asked == self._asked or self._failure is None:
                    self._ask(renew=renew)
                failure, held = self._failure, self._held
                if failure is not None and not _lives(held, self._now() + max(life, 1)):
                    # Made anew: one exception object raised in many threads would mix tracebacks.
                    raise with_detail(failure, failure.detail) from failure.__cause__
            assert self._held is not None
            return self._held

    def at_hand(self) -> AwsCredentials | None:
        """Return the credentials if the provider need not be asked; None if `get` must be called.

        Never blocks.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            refused = self._refused is not None and self._is_refused()
            if self._held is None or refused or self._failure is not None:
                return None
            if not self._is_due():
                return self._held
            if self._hold or not isinstance(self._provider, PromptProvider):
                return None
            found = self._provider.at_hand(self._skew)
            if found is None or not _lives(found, self._now() + limits.CREDENTIAL_REFRESH_GRACE):
                return None
            self._held = found
            return found
        finally:
            self._lock.release()

    def _is_refused(self) -> bool:
        """Return whether what is held was refused, and the provider may be asked again."""
        return self._held == self._refused and self._steady() >= self._renew_at

    def _is_due(self) -> bool:
        """Return whether the provider is to be asked again, by either clock."""
        return self._steady() >= self._due or not _lives(
            self._held, self._now() + limits.CREDENTIAL_REFRESH_GRACE + 1
        )

    def _now(self) -> int:
        return self._clock() + self._skew.ticks

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=limits.CREDENTIALS_TURN_TIMEOUT / TICKS_PER_SECOND):
            raise kvs_error(
                StatusCode.OPERATION_TIMED_OUT,
                f"{self._provider} has been asked for credentials and does not answer",
            )
        try:
            yield
        finally:
            self._lock.release()

    def _fetch(self, *, renew: bool) -> AwsCredentials:
        if renew and isinstance(self._provider, CachingProvider):
            self._provider.renew()
        if self._network is not None and isinstance(self._provider, PlacedProvider):
            found = self._provider.fetch_in(self._network, self._skew)
        else:
            found = self._provider.fetch()
        if found.expiration is not None:
            if found.expiration - self._now() < limits.CREDENTIAL_REFRESH_GRACE:
                self._learn()
            check_not_past(found.expiration, self._now())
        return found

    def _fetch_in_time(self, *, renew: bool) -> AwsCredentials:
        """What the provider gives, unless it has expired by the service's time."""
        try:
            return self._fetch(renew=renew)
        except KvsError as error:
            past = error.status is StatusCode.IOT_EXPIRATION_OCCURS_IN_PAST
            if not (past and self._learn()):
                raise
        return self._fetch(renew=False)

    def _ask(self, *, renew: bool) -> None:
        self._asked += 1
        if renew:
            self._renew_at = self._steady() + _PAUSE
        try:
            found = self._fetch_in_time(renew=renew)
        except KvsError as error:
            self._failure = error
            if self._held is not None:
                log.warning(
                    "credentials could not be renewed by %s: %s (%s): %s",
                    self._provider,
                    error.name,
                    error.status.hex,
                    error.detail,
                )
            return
        if self._failure is not None:
            log.info("credentials are renewed again by %s", self._provider)
        self._failure = None
        if renew and found != self._refused:
            self._renew_at = 0  # these may be refused at once too
            log.info("the service refused the credentials; %s has given others", self._provider)
        self._held = found
        life = limits.MAX_TOKEN_LIFE
        if found.expiration is not None:
            life = found.expiration - limits.CREDENTIAL_REFRESH_GRACE - self._now()
        self._due = self._steady() + (life if self._hold else 0)

    def run_on(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], int]) -> None:
        """Where a user's coroutines run, and whose wall clock counts."""
        self._clock = clock
        if isinstance(self._provider, OwnCredentials):
            self._provider.run_on(loop)

    def close(self) -> None:
        """Stop waiting for the provider: callers get an error."""
        if isinstance(self._provider, OwnCredentials):
            self._provider.close()


def _lives(credentials: AwsCredentials | None, until: int) -> bool:
    if credentials is None:
        return False
    return credentials.expiration is None or credentials.expiration >= until
