"""Cache the credentials of a provider, and renew them before they expire.

The provider is called when the cached credentials have less than 38 s left (as in the C producer:
30 s that an upload needs, and a reserve), and after 40 minutes if they have no expiration. If
renewal fails, the cached credentials are used until they expire; after that the failure is raised.
While one caller fetches, other callers wait for its result, so that many streams fetch only once.

Credentials may become invalid earlier, for example if a role's sessions are revoked. When the
service refuses the cached credentials (`refuse`), the provider is called again at once. If it
returns the same credentials, they are used again, because the service may have been wrong. If they
are refused again, the provider is called at most once per `REFUSED_CREDENTIALS_PAUSE`.

An expiration is compared with the service's time. If this machine's clock is ahead, fresh
credentials look expired. Without valid credentials no call is made, so no response would bring the
service's time. The function `learn` therefore requests the service's time. Lifetimes are measured
with the monotonic clock as well, so that setting the wall clock back does not make credentials live
longer. Pauses also use the monotonic clock.

The provider may block, so `get` must be called in a thread; any number of threads may call it.
`get_nowait` returns the cached credentials without blocking. If the provider never returns, callers
wait for at most a minute.
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
    NetworkProvider,
    NonBlockingProvider,
)
from kvsproducer.service.network import Network
from kvsproducer.status import KvsError, StatusCode, kvs_error, with_detail

__all__ = ["FreshCredentials"]

log = logging.getLogger("kvsproducer.credentials")

_PAUSE = limits.REFUSED_CREDENTIALS_PAUSE


class FreshCredentials:
    """The cached credentials of a provider.

    hold: whether to cache the credentials; False for a provider that has a cache of its own, which
        is then called each time.
    clock: function that returns the wall-clock time in ticks since 1970.
    steady: function that returns the monotonic time in ticks.
    skew: the service's clock minus this machine's.
    network: the producer's network settings.
    learn: function that asks the service for its time, updates `skew`, and returns whether it has
        changed; blocks.
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
        self._asked = 0  # how often the provider was called
        self._held: AwsCredentials | None = None
        self._due = 0  # monotonic time of the next call of the provider
        self._failure: KvsError | None = None
        self._refused: AwsCredentials | None = None
        self._renew_at = 0  # monotonic time until which refused credentials are not renewed again

    def refuse(self, credentials: AwsCredentials) -> None:
        """Record that the service refused these credentials; never blocks."""
        self._refused = credentials

    def get(self, *, life: int = 0) -> AwsCredentials:
        """Return credentials with at least `life` ticks left if possible; blocks.

        Raises the provider's exception if there are no valid cached credentials,
        IOT_EXPIRATION_OCCURS_IN_PAST if the provider returns expired credentials, and
        OPERATION_TIMED_OUT if another thread's call of the provider takes more than a minute.
        """
        asked = self._asked
        with self._turn():
            renew = self._refused is not None and self._is_refused()
            if renew or self._is_due():
                if renew or asked == self._asked or self._failure is None:
                    self._ask(renew=renew)
                failure, held = self._failure, self._held
                if failure is not None and not _lives(held, self._now() + max(life, 1)):
                    # Raise a copy: one exception raised in many threads would mix its tracebacks.
                    raise with_detail(failure, failure.detail) from failure.__cause__
            assert self._held is not None
            return self._held

    def get_nowait(self) -> AwsCredentials | None:
        """Return the credentials without blocking, or None if `get` must be called."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            refused = self._refused is not None and self._is_refused()
            if self._held is None or refused or self._failure is not None:
                return None
            if not self._is_due():
                return self._held
            if self._hold or not isinstance(self._provider, NonBlockingProvider):
                return None
            found = self._provider.get_nowait(self._skew)
            if found is None or not _lives(found, self._now() + limits.CREDENTIAL_REFRESH_GRACE):
                return None
            self._held = found
            return found
        finally:
            self._lock.release()

    def _is_refused(self) -> bool:
        """Return whether the cached credentials were refused and may be renewed now."""
        return self._held == self._refused and self._steady() >= self._renew_at

    def _is_due(self) -> bool:
        """Return whether the provider must be called, because the credentials expire soon."""
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
                f"{self._provider} has not returned credentials for a minute",
            )
        try:
            yield
        finally:
            self._lock.release()

    def _fetch(self, *, renew: bool) -> AwsCredentials:
        if renew and isinstance(self._provider, CachingProvider):
            self._provider.renew()
        if self._network is not None and isinstance(self._provider, NetworkProvider):
            found = self._provider.fetch_in(self._network, self._skew)
        else:
            found = self._provider.fetch()
        if found.expiration is not None:
            if found.expiration - self._now() < limits.CREDENTIAL_REFRESH_GRACE:
                self._learn()
            check_not_past(found.expiration, self._now())
        return found

    def _fetch_in_time(self, *, renew: bool) -> AwsCredentials:
        """Fetch credentials; if they look expired, learn the service's time and fetch again."""
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
            self._renew_at = 0  # if the new ones are refused too, renew them at once
            log.info("the service refused the credentials; %s returned others", self._provider)
        self._held = found
        life = limits.MAX_TOKEN_LIFE
        if found.expiration is not None:
            life = found.expiration - limits.CREDENTIAL_REFRESH_GRACE - self._now()
        self._due = self._steady() + (life if self._hold else 0)

    def run_on(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], int]) -> None:
        """Set the loop for coroutines of a user's provider, and the wall clock."""
        self._clock = clock
        if isinstance(self._provider, OwnCredentials):
            self._provider.run_on(loop)

    def close(self) -> None:
        """Stop waiting for a user's provider; waiting callers get an error."""
        if isinstance(self._provider, OwnCredentials):
            self._provider.close()


def _lives(credentials: AwsCredentials | None, until: int) -> bool:
    if credentials is None:
        return False
    return credentials.expiration is None or credentials.expiration >= until
