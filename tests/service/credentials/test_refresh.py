"""Renewing credentials: when the provider is called, and what is used while it fails."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from tests.service.credentials.conftest import NOW, SECOND, Clock

from kvsproducer import KvsError, StatusCode
from kvsproducer.service.clock_skew import ClockSkew
from kvsproducer.service.credentials import AwsCredentials
from kvsproducer.service.credentials.refresh import FreshCredentials
from kvsproducer.status import kvs_error

S = StatusCode
TOKEN_LIFE = 30 * SECOND


class Provider:
    """A provider that returns credentials with the given lifetime, or fails."""

    def __init__(self, clock: Clock, life_s: float | None = 3600) -> None:
        self.clock = clock
        self.life_s = life_s
        self.failure: KvsError | None = None
        self.asked = 0

    def fetch(self) -> AwsCredentials:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        end = None if self.life_s is None else self.clock() + int(self.life_s * SECOND)
        return AwsCredentials(f"A{self.asked}", "secretsecret", None, end)


def test_provider_is_called_38_s_before_the_expiration(clock: Clock) -> None:
    """It is not called earlier, and then only once."""
    provider = Provider(clock)
    fresh = FreshCredentials(provider, clock=clock, steady=clock)
    assert fresh.get().access_key_id == "A1"
    clock.forward(3600 - 38.001)
    assert fresh.get().access_key_id == "A1"
    clock.forward(0.001)
    assert fresh.get().access_key_id == "A2"
    assert fresh.get().access_key_id == "A2"
    assert provider.asked == 2


def test_without_an_expiration_it_is_asked_after_40_minutes(clock: Clock) -> None:
    """The credentials may have been changed meanwhile."""
    provider = Provider(clock, None)
    fresh = FreshCredentials(provider, clock=clock, steady=clock)
    assert fresh.get().access_key_id == "A1"
    clock.forward(40 * 60 - 0.001)
    assert fresh.get(life=TOKEN_LIFE).access_key_id == "A1"
    clock.forward(0.001)
    assert fresh.get().access_key_id == "A2"


def test_provider_with_a_cache_is_called_each_time(clock: Clock) -> None:
    """botocore's credentials renew themselves."""
    provider = Provider(clock)
    fresh = FreshCredentials(provider, hold=False, clock=clock, steady=clock)
    assert [fresh.get().access_key_id for _ in range(3)] == ["A1", "A2", "A3"]


def test_cached_credentials_are_used_while_the_provider_fails(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """An upload uses them while they have 30 s left, a call until they expire; then it raises."""
    caplog.set_level(logging.INFO, "kvsproducer")
    provider = Provider(clock, 60)
    fresh = FreshCredentials(provider, clock=clock, steady=clock)
    fresh.get()
    cause = OSError("no route")
    provider.failure = kvs_error(S.CURL_PERFORM_FAILED, "no route")
    provider.failure.__cause__ = cause
    clock.forward(30)
    assert fresh.get(life=TOKEN_LIFE).access_key_id == "A1"
    assert "CURL_PERFORM_FAILED" in caplog.text
    clock.forward(1)
    with pytest.raises(KvsError) as caught:
        fresh.get(life=TOKEN_LIFE)
    assert caught.value.status is S.CURL_PERFORM_FAILED
    assert caught.value.__cause__ is cause
    assert fresh.get().access_key_id == "A1"
    clock.forward(29)
    with pytest.raises(KvsError):
        fresh.get()
    provider.failure = None
    assert fresh.get(life=TOKEN_LIFE).access_key_id == "A6"
    assert "renewed again" in caplog.text
    assert "secretsecret" not in caplog.text


def test_expired_credentials_are_a_failure(clock: Clock) -> None:
    """This holds for every provider."""
    with pytest.raises(KvsError) as caught:
        FreshCredentials(Provider(clock, -1), clock=clock).get()
    assert caught.value.status is S.IOT_EXPIRATION_OCCURS_IN_PAST


def test_credentials_with_a_short_life_are_returned(clock: Clock) -> None:
    """The core refuses them, and its error has the required lifetime."""
    found = FreshCredentials(Provider(clock, 20), clock=clock).get(life=TOKEN_LIFE)
    assert found.expiration == NOW + 20 * SECOND


@pytest.mark.parametrize("fails", [False, True])
def test_many_waiting_callers_cause_one_fetch(clock: Clock, fails: bool) -> None:
    """Many streams whose credentials expire together cause one fetch, also if it fails."""
    may_answer = threading.Event()
    asking = threading.Event()

    class Slow(Provider):
        def fetch(self) -> AwsCredentials:
            asking.set()
            may_answer.wait(60)
            return super().fetch()

    provider = Slow(clock)
    provider.failure = kvs_error(S.IOT_FAILED, "no") if fails else None
    fresh = FreshCredentials(provider, clock=clock, steady=clock)
    results: list[Any] = []
    waiting = threading.Semaphore(0)

    def get() -> None:
        waiting.release()
        try:
            results.append(fresh.get())
        except KvsError as error:
            results.append(error.status)

    threads = [threading.Thread(target=get) for _ in range(5)]
    threads[0].start()
    assert asking.wait(20)
    for thread in threads[1:]:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=20)
    # They look at the count before they wait for the lock; only that little is left to chance.
    may_answer.set()
    for thread in threads:
        thread.join(20)
    assert len(results) == 5
    assert all(result is S.IOT_FAILED for result in results) or not fails
    assert provider.asked == 1 or (fails and provider.asked < 5)


def test_the_producer_s_clock_counts(clock: Clock) -> None:
    """The clock given to `run_on` is used."""
    import asyncio

    provider = Provider(clock)
    fresh = FreshCredentials(provider)
    loop = asyncio.new_event_loop()
    fresh.run_on(loop, clock)
    loop.close()
    assert fresh.get().access_key_id == "A1"
    clock.forward(3600)
    assert fresh.get().access_key_id == "A2"
    fresh.close()


# --- the service's time --------------------------------------------------------------------------
HOUR = 3600 * SECOND


class Service:
    """The service's clock, and the skew that is learnt from it."""

    def __init__(self, clock: Clock, ahead: int) -> None:
        self.clock, self.ahead = clock, ahead
        self.skew = ClockSkew()
        self.asked = 0

    def time(self) -> int:
        return self.clock() + self.ahead

    def learn(self) -> bool:
        """Set the skew once, as the Date of a response would."""
        if self.asked:
            return False
        self.asked += 1
        self.skew.ticks = self.ahead
        return True

    def fresh(self, provider: Provider) -> FreshCredentials:
        return FreshCredentials(
            provider, clock=self.clock, steady=self.clock, skew=self.skew, learn=self.learn
        )


class InServiceTime(Provider):
    """Its credentials expire by the service's clock."""

    def __init__(self, service: Service, life_s: float = 3600) -> None:
        super().__init__(service.time, life_s)  # type: ignore[arg-type]


def test_fast_clock_does_not_make_credentials_look_expired(clock: Clock) -> None:
    """The service is asked for its time first."""
    service = Service(clock, -2 * HOUR)
    provider = InServiceTime(service)
    fresh = service.fresh(provider)
    assert fresh.get(life=TOKEN_LIFE).access_key_id == "A1"
    assert service.asked == 1
    clock.forward(3600 - 38.001)
    assert fresh.get(life=TOKEN_LIFE).access_key_id == "A1"
    clock.forward(0.001)
    assert fresh.get(life=TOKEN_LIFE).access_key_id == "A2"
    assert service.asked == 1


def test_service_time_is_learnt_for_a_life_that_looks_too_short(clock: Clock) -> None:
    """Ten seconds by this clock are too short for any call, so no response would bring the time."""
    service = Service(clock, -HOUR + 10 * SECOND)
    found = service.fresh(InServiceTime(service)).get(life=TOKEN_LIFE)
    assert (found.access_key_id, service.asked) == ("A1", 1)


def test_slow_clock_does_not_keep_credentials_too_long(clock: Clock) -> None:
    """The first response shows that their life is one hour and not two."""
    service = Service(clock, HOUR)
    provider = InServiceTime(service)
    fresh = service.fresh(provider)
    assert fresh.get().access_key_id == "A1"
    assert service.asked == 0
    service.learn()
    clock.forward(3600 - 38)
    assert fresh.get().access_key_id == "A2"


def test_expired_credentials_are_reported(clock: Clock) -> None:
    """They are expired by the service's time too, which is requested once."""
    service = Service(clock, 0)
    fresh = service.fresh(InServiceTime(service, -10))
    for _ in range(2):
        with pytest.raises(KvsError, match="expired") as caught:
            fresh.get()
        assert caught.value.status is S.IOT_EXPIRATION_OCCURS_IN_PAST
    assert service.asked == 1


def test_waiting_for_a_provider_that_hangs_is_limited(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that never returns blocks one thread, not one more with every attempt."""
    monkeypatch.setattr("kvsproducer.limits.CREDENTIALS_TURN_TIMEOUT", 1_000)
    asking, may_answer = threading.Event(), threading.Event()

    class Hanging(Provider):
        def fetch(self) -> AwsCredentials:
            asking.set()
            may_answer.wait(60)
            return super().fetch()

    fresh = FreshCredentials(Hanging(clock), clock=clock)
    thread = threading.Thread(target=fresh.get)
    thread.start()
    assert asking.wait(20)
    with pytest.raises(TimeoutError, match="has not returned credentials"):
        fresh.get()
    may_answer.set()
    thread.join(20)
    assert fresh.get().access_key_id == "A1"


# --- credentials that the service refuses ---------------------------------------------------------
class Keeping(Provider):
    """A provider that returns the same credentials until `renew` finds others."""

    def __init__(self, clock: Clock, holdings: list[str]) -> None:
        super().__init__(clock)
        self.holdings = holdings
        self.found = holdings[0]
        self.renewed = 0

    def renew(self) -> None:
        self.renewed += 1
        self.found = self.holdings[-1]

    def fetch(self) -> AwsCredentials:
        super().fetch()
        return AwsCredentials(self.found, "secretsecret")


@pytest.mark.parametrize("hold", [True, False])
def test_refused_credentials_are_renewed_at_once_and_then_with_pauses(
    clock: Clock, hold: bool
) -> None:
    """Refused credentials are used until there are others."""
    provider = Keeping(clock, ["OLD"])
    fresh = FreshCredentials(provider, hold=hold, clock=clock, steady=clock)
    old = fresh.get()
    for _ in range(3):
        fresh.refuse(old)
        assert fresh.get() == old
    assert provider.renewed == 1
    clock.forward(9.999)
    assert fresh.get() == old
    assert provider.renewed == 1
    clock.forward(0.001)
    provider.holdings.append("NEW")
    assert fresh.get().access_key_id == "NEW"
    assert provider.renewed == 2
    fresh.refuse(old)  # by another stream, which signed with them earlier
    assert fresh.get().access_key_id == "NEW"
    assert provider.renewed == 2


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_clock_step_changes_no_pause(clock: Clock, step_s: int) -> None:
    """Refused credentials are renewed 10 s later, whatever the wall clock says."""
    wall = Clock()
    provider = Keeping(wall, ["OLD"])
    fresh = FreshCredentials(provider, clock=wall, steady=clock)
    fresh.refuse(fresh.get())
    fresh.get()
    wall.forward(step_s)
    clock.forward(9)
    fresh.get()
    assert provider.renewed == 1
    clock.forward(1)
    fresh.get()
    assert provider.renewed == 2


@pytest.mark.parametrize("life_s", [60, 3600, None])
def test_clock_that_is_set_back_prolongs_no_life(clock: Clock, life_s: int | None) -> None:
    """The provider is called at the same time as without the step."""
    wall = Clock()
    provider = Provider(wall, life_s)
    fresh = FreshCredentials(provider, clock=wall, steady=clock)
    fresh.get()
    wall.forward(-86_400)
    clock.forward(40 * 60 - 1 if life_s is None else life_s - 39)
    assert fresh.get().access_key_id == "A1"
    clock.forward(1)
    assert fresh.get().access_key_id == "A2"


@pytest.mark.parametrize(("life_s", "found"), [(3600, "A2"), (None, "A1")])
def test_credentials_expire_when_the_wall_clock_says_so(
    clock: Clock, life_s: int | None, found: str
) -> None:
    """If the clock is set past their expiration, the provider is called."""
    wall = Clock()
    fresh = FreshCredentials(Provider(wall, life_s), clock=wall, steady=clock)
    fresh.get()
    wall.forward(3600 - 38)
    assert fresh.get().access_key_id == found


def test_refused_credentials_serve_while_the_provider_fails(clock: Clock) -> None:
    """For example while the file is being rewritten."""
    provider = Provider(clock)
    fresh = FreshCredentials(provider, clock=clock, steady=clock)
    old = fresh.get()
    fresh.refuse(old)
    provider.failure = kvs_error(S.FILE_CREDENTIAL_PROVIDER_OPEN_FILE_FAILED, "gone")
    assert fresh.get(life=TOKEN_LIFE) == old
    provider.failure = None
    clock.forward(10)
    assert fresh.get() != old


def test_get_nowait_returns_valid_cached_credentials(clock: Clock) -> None:
    """It returns None before the first `get`, if they are due or refused, or after a failure."""
    provider = Provider(clock)
    fresh = FreshCredentials(provider, clock=clock)
    assert fresh.get_nowait() is None
    held = fresh.get()
    assert fresh.get_nowait() == held
    clock.forward(3600 - 38)
    assert fresh.get_nowait() is None
    provider.failure = kvs_error(S.CURL_PERFORM_FAILED, "no route")
    assert fresh.get() == held
    assert fresh.get_nowait() is None
    provider.failure = None
    held = fresh.get()
    assert fresh.get_nowait() == held
    fresh.refuse(held)
    assert fresh.get_nowait() is None
    assert fresh.get() != held
    assert fresh.get_nowait() is not None
    assert provider.asked == 4


def test_get_nowait_returns_none_while_another_thread_fetches(clock: Clock) -> None:
    """The event loop must not wait for the provider."""
    asked, release = threading.Event(), threading.Event()
    seen: list[AwsCredentials | None] = []

    class Slow(Provider):
        def fetch(self) -> AwsCredentials:
            asked.set()
            release.wait(30)
            return super().fetch()

    fresh = FreshCredentials(Slow(clock), clock=clock)
    thread = threading.Thread(target=fresh.get)
    thread.start()
    assert asked.wait(30)
    seen.append(fresh.get_nowait())
    release.set()
    thread.join(30)
    seen.append(fresh.get_nowait())
    assert seen[0] is None
    assert seen[1] is not None


@pytest.mark.parametrize("life_s", [None, 39, 37])
def test_get_nowait_of_a_provider_with_a_cache(life_s: int | None, clock: Clock) -> None:
    """It returns credentials if the provider does, and if they live long enough."""

    class Prompt(Provider):
        prompt = True

        def get_nowait(self, skew: ClockSkew) -> AwsCredentials | None:
            return self.fetch() if self.prompt else None

    provider = Prompt(clock)
    fresh = FreshCredentials(provider, hold=False, clock=clock)
    assert fresh.get().access_key_id == "A1"
    provider.life_s = life_s
    found = fresh.get_nowait()
    assert (found is None) is (life_s == 37)
    provider.prompt = False
    assert fresh.get_nowait() is None
