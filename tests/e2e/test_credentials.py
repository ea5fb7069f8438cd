"""Credentials end to end: signatures are verified, tokens rotate, providers fail and recover.

A clock that the test sets stands in for the hours that credentials live.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.endpoints import QUICK
from tests.iot import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, IotEndpoint
from tests.iot import answer as iot_answer
from typer.testing import CliRunner

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.cli.app import app
from kvsproducer.endpoint import Credentials, local_endpoint

S = kvs.StatusCode
SECOND = 10_000_000
LIFE_S = 60  # of the credentials that the test's provider gives
# An idle stream's fragment is left open, though the clock jumps.
PATIENT = kvs.DeviceInfo(client_info=kvs.ClientInfo(automatic_streaming_flags=256))
# Of the stream's token, or of the client's when the 3 s before its end were over too soon.
FAILURES = kvs.StreamErrorReported | kvs.ClientErrorReported

pytestmark = pytest.mark.usefixtures("quick_retries")


class Clock:
    """The clock of a producer, which the test advances."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 100 + self.ahead

    def forward(self, seconds: float) -> None:
        """Advance the clock."""
        self.ahead += round(seconds * SECOND)

    def callbacks(self) -> kvs.CallbacksProvider:
        """A producer's platform with this clock."""
        found = kvs.CallbacksProvider()
        found.set_platform(kvs.PlatformCallbacks(get_current_time=self))
        return found


class Vault:
    """A provider with a new key pair for each fetch, valid for a minute."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.known: dict[str, Credentials] = {}
        self.failing = False
        self.asked = 0

    def fetch(self) -> kvs.AwsCredentials:
        self.asked += 1
        if self.failing:
            raise ConnectionError("the vault is sealed")
        number = len(self.known)
        key = f"ASIA{number}"
        self.known[key] = Credentials(f"secret-{number}", f"token-{number}")
        return kvs.AwsCredentials(
            key, f"secret-{number}", f"token-{number}", self.clock() + LIFE_S * SECOND
        )

    async def fetch_later(self) -> kvs.AwsCredentials:
        await asyncio.sleep(0)
        return self.fetch()

    def forget_old_ones(self) -> None:
        """Make the endpoint refuse all keys but the newest."""
        for key in list(self.known)[:-1]:
            self.known[key] = Credentials("revoked", None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made, monotonic_ns = Clock(), time.monotonic_ns
    monkeypatch.setattr(
        "kvsproducer.service.clock.monotonic_ns", lambda: monotonic_ns() + made.ahead * 100
    )
    return made


@pytest.fixture
def vault(clock: Clock) -> Vault:
    return Vault(clock)


@pytest.fixture
def url(clock: Clock, vault: Vault) -> Iterator[str]:
    """An endpoint that accepts only what is signed with the vault's keys."""
    with local_endpoint(verify_signatures=vault.known, limits=QUICK, now=clock) as endpoint:
        yield endpoint.url


class Events:
    """The events that a producer has reported."""

    def __init__(self) -> None:
        self.all: list[kvs.Event] = []

    def of(self, kind: Any) -> list[Any]:
        return [event for event in list(self.all) if isinstance(event, kind)]

    @property
    def uploads(self) -> int:
        return len(self.of(kvs.UploadStarted))

    def streaming(self, uploads: int, stream: kvs.Stream | aio.Stream) -> bool:
        """Whether the newest of so many uploads is ready to take over."""
        return self.uploads == uploads and stream.state is kvs.StreamState.STREAMING

    def persisted(self, upload: int) -> int:
        """How many fragments were stored that way."""
        return sum(
            event.upload == upload and event.ack.ack_type is kvs.AckType.PERSISTED
            for event in self.of(kvs.FragmentAcked)
        )


def camera(url: str, clock: Clock, events: Events) -> dict[str, Any]:
    """Return the arguments for a producer that uses the clock and collects events."""
    return {
        "region_name": "us-west-2",
        "endpoint_url": url,
        "callbacks": clock.callbacks(),
        "device_info": PATIENT,
        "on_event": events.all.append,
    }


@pytest.fixture
def stored(kit: Any, url: str, vault: Vault) -> Callable[[Any], None]:
    """stored(media): the endpoint holds exactly that in `door`."""
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]

    def check(media: Any) -> None:
        vault.known[os.environ["AWS_ACCESS_KEY_ID"]] = Credentials(secret, None)
        kit.assert_stored(url, "door", media.put)

    return check


# --- rotation ------------------------------------------------------------------------------------
def test_tokens_rotate_without_a_gap(
    kit: Any, url: str, clock: Clock, vault: Vault, stored: Callable[[Any], None]
) -> None:
    """Before its token ends a new upload takes over, signed with new keys; nothing is lost."""
    media, events = kit.Media(), Events()
    with kvs.Producer(credentials=vault, **camera(url, clock, events)) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for upload in range(4):
                for frame in media.frames(11):
                    stream.put_frame(frame)
                kit.until(lambda upload=upload: events.persisted(upload))
                vault.forget_old_ones()
                clock.forward(LIFE_S - 2)
                stream.put_frame(media.frame())
                kit.until(lambda upload=upload: events.streaming(upload + 2, stream))
                clock.forward(3)
    assert events.uploads == 5
    assert len(vault.known) == 5
    assert not events.of(kvs.FrameDropped)
    assert not events.of(kvs.StreamErrorReported)
    stored(media)


def test_failed_refresh_keeps_the_token_and_is_reported(
    kit: Any, url: str, clock: Clock, vault: Vault, stored: Callable[[Any], None]
) -> None:
    """The second fetch fails and is reported; uploads continue, and the third fetch succeeds."""
    media, events = kit.Media(), Events()
    with kvs.Producer(credentials=vault.fetch, **camera(url, clock, events)) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for frame in media.frames(11):
                stream.put_frame(frame)
            kit.until(lambda: events.persisted(0))
            vault.failing = True
            clock.forward(LIFE_S - 2)
            stream.put_frame(media.frame())
            kit.until(lambda: events.of(FAILURES))
            reported = events.of(FAILURES)[0]
            assert reported.status is S.CLIENT_AUTH_CALL_FAILED
            assert not reported.fatal
            assert "ConnectionError at test_credentials.py:" in reported.detail
            assert "sealed" not in reported.detail
            # Past the end of the token the upload goes on for as long as the service lets it.
            clock.forward(10)
            before = events.persisted(0)
            for frame in media.frames(15):
                stream.put_frame(frame)
            kit.until(lambda: events.persisted(0) >= before + 2)
            assert events.uploads == 1
            kit.until(lambda: vault.asked > 8)  # more attempts than AWS's client makes
            vault.failing = False
            kit.until(lambda: events.streaming(2, stream))
            clock.forward(3)
            for frame in media.frames(11):
                stream.put_frame(frame)
            kit.until(lambda: events.persisted(1))
    assert not events.of(kvs.FrameDropped)
    assert not [event for event in events.of(kvs.StreamErrorReported) if event.fatal]
    stored(media)


def test_the_same_in_asyncio(
    kit: Any, url: str, clock: Clock, vault: Vault, stored: Callable[[Any], None]
) -> None:
    """A coroutine function fails at its second call, and recovers."""
    media, events = kit.Media(), Events()

    async def until(happened: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not happened():
                await asyncio.sleep(0.01)

    async def main() -> None:
        options = camera(url, clock, events)
        async with aio.Producer(credentials=vault.fetch_later, **options) as producer:
            async with producer.open_stream("door", kit.info()) as stream:
                for frame in media.frames(11):
                    await stream.put_frame(frame)
                await until(lambda: events.persisted(0))
                vault.failing = True
                clock.forward(LIFE_S - 2)
                for frame in media.frames(10):
                    await stream.put_frame(frame)
                await until(lambda: events.of(FAILURES))
                vault.failing = False
                await until(lambda: events.streaming(2, stream))
                clock.forward(3)
                for frame in media.frames(11):
                    await stream.put_frame(frame)
                await until(lambda: events.persisted(1))

    asyncio.run(main())
    assert not events.of(kvs.FrameDropped)
    stored(media)


def test_less_than_30_s_of_life_are_refused(
    kit: Any, url: str, clock: Clock, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the required lifetime; nothing is uploaded."""
    monkeypatch.setattr("tests.e2e.test_credentials.LIFE_S", 29)
    events = Events()
    with kvs.Producer(
        region_name="us-west-2",
        endpoint_url=url,
        credentials=vault,
        config=kvs.ServiceConfig(continuous_retry=False),
        on_event=events.all.append,
    ) as producer:
        stream = producer.open_stream("door", kit.info())
        with pytest.raises(kvs.KvsError, match="at least 30 s are needed") as caught:
            stream.wait_ready(20)
    assert caught.value.status is S.CLIENT_AUTH_CALL_FAILED
    assert events.uploads == 0


def test_a_camera_that_starts_without_credentials_streams_when_they_come(
    kit: Any, url: str, vault: Vault, stored: Callable[[Any], None]
) -> None:
    """Frames that were put meanwhile are stored."""
    vault.failing = True
    media, events = kit.Media(), Events()
    with kvs.Producer(
        region_name="us-west-2", endpoint_url=url, credentials=vault, on_event=events.all.append
    ) as producer:
        with producer.open_stream("door", kit.info()) as stream:
            for frame in media.frames(11):
                stream.put_frame(frame)
            kit.until(lambda: vault.asked > 6)
            reported = events.of(kvs.ClientErrorReported)
            assert S.CLIENT_AUTH_CALL_FAILED in {event.status for event in reported}
            vault.failing = False
            kit.until(lambda: events.persisted(0))
    stored(media)


# --- every surface -------------------------------------------------------------------------------
@pytest.fixture
def iot(tmp_path: Path) -> Iterator[IotEndpoint]:
    with IotEndpoint(tmp_path) as endpoint:
        yield endpoint


@pytest.fixture
def iot_url(iot: IotEndpoint) -> Iterator[str]:
    """An endpoint that accepts only what is signed with the keys from AWS IoT."""
    known = {ACCESS_KEY: Credentials(SECRET_KEY, SESSION_TOKEN)}
    with local_endpoint(verify_signatures=known, limits=QUICK) as endpoint:
        yield endpoint.url


def test_iot_on_every_surface(kit: Any, iot: IotEndpoint, iot_url: str) -> None:
    """Put, listed and read back, blocking and in asyncio, with nothing but IoT's credentials."""
    options: dict[str, Any] = {
        "region_name": "us-west-2",
        "endpoint_url": iot_url,
        "credentials": kvs.IotCredentials(**iot.options()),
    }
    offline: dict[str, Any] = {"retention": "PT1H", "streaming_type": kvs.StreamingType.OFFLINE}
    put = kvs.put_media("testsrc:duration=1,size=64x48", "door", **offline, **options)
    assert len(kvs.list_fragments("door", **options)) == put.fragments
    got = sum(len(fragment.frames) for fragment in kvs.get_media("door", **options))
    assert got == put.frames

    async def main() -> int:
        await aio.put_media("testsrc:duration=1,size=64x48", "hall", **offline, **options)
        return sum([len(fragment.frames) async for fragment in aio.get_media("hall", **options)])

    assert asyncio.run(main()) == got
    assert {headers["x-amzn-iot-thingname"] for _, headers in iot.requests} == {"front-door-camera"}


@pytest.mark.parametrize("off", [-7200, 7200], ids=["clock ahead", "clock behind"])
def test_iot_on_a_machine_whose_clock_is_off(kit: Any, iot: IotEndpoint, off: int) -> None:
    """By it the credentials have expired, or live too long; by the service's time they are good."""
    iot.reply = lambda: (200, iot_answer(timedelta(seconds=off + 3600)))
    known = {ACCESS_KEY: Credentials(SECRET_KEY, SESSION_TOKEN)}

    def service_time() -> int:
        return kvs.now() + off * SECOND

    with local_endpoint(verify_signatures=known, limits=QUICK, now=service_time) as endpoint:
        media, events = kit.Media(), Events()
        options: dict[str, Any] = {
            "endpoint_url": endpoint.url,
            "credentials": kvs.IotCredentials(**iot.options()),
        }
        with kvs.Producer(
            region_name="us-west-2", on_event=events.all.append, **options
        ) as producer:
            with producer.open_stream("door", kit.info()) as stream:
                for frame in media.frames(11):
                    stream.put_frame(frame)
        assert stream.account().persisted == 11
        assert not events.of(FAILURES)
        [reported] = events.of(kvs.ClockSkewDetected)
        assert abs(reported.skew - off * SECOND) < 60 * SECOND
        assert sum(len(one.frames) for one in kvs.get_media("door", **options)) == 11


def test_a_coroutine_s_credentials_on_every_surface(url: str, clock: Clock, vault: Vault) -> None:
    """In asyncio it runs on the caller's loop, wherever the work is done."""
    loops: list[object] = []

    async def coroutine() -> kvs.AwsCredentials:
        loops.append(asyncio.get_running_loop())
        return vault.fetch()

    options: dict[str, Any] = {
        "region_name": "us-west-2", "endpoint_url": url, "credentials": coroutine
    }  # fmt: skip
    offline: dict[str, Any] = {"retention": "PT1H", "streaming_type": kvs.StreamingType.OFFLINE}
    source = "testsrc:duration=1,size=64x48"
    put = kvs.put_media(source, "door", **offline, **options)
    assert len(kvs.list_fragments("door", **options)) == put.fragments
    assert len(list(kvs.get_media("door", **options))) == put.fragments
    blocking = len(loops)

    async def main() -> None:
        await aio.put_media(source, "hall", **offline, **options)
        async for fragment in aio.get_media("hall", **options):
            assert fragment.frames
        assert set(loops[blocking:]) == {asyncio.get_running_loop()}

    asyncio.run(main())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, iot: IotEndpoint, iot_url: str) -> Callable[..., Any]:
    """command("put", ...): kvs in this process, in an environment without AWS credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", iot_url)

    def run(*arguments: str) -> Any:
        return CliRunner(env={"COLUMNS": "100"}).invoke(app, [*arguments], prog_name="kvs")

    return run


def test_kvs_put_and_get_with_a_credentials_file(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    """`--credentials-file`, in the form that AWS's producer misreads; its errors are one line."""
    file, out = tmp_path / "keys", tmp_path / "out.mkv"
    file.write_text(f"CREDENTIALS {ACCESS_KEY} {SECRET_KEY} {SESSION_TOKEN}\n")
    chosen = ("--credentials-file", str(file))
    put = command("put", "testsrc:duration=1,size=64x48", "door", "-q", *chosen)
    assert put.exit_code == 0, put.stderr
    got = command("get", "door", "-o", str(out), "--max-fragments", "1", "--idle", "20", *chosen)
    assert got.exit_code == 0, got.stderr
    assert out.stat().st_size
    file.write_text(f"{ACCESS_KEY} {SECRET_KEY}")
    bad = command("put", "testsrc:duration=1,size=64x48", "door", "-q", *chosen)
    assert bad.exit_code == 1
    assert "0x15000024" in bad.stderr
    assert SECRET_KEY not in bad.stderr


def test_kvs_put_and_get_with_aws_iot(
    command: Callable[..., Any], iot: IotEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--iot` uses the variables of AWS's samples; errors name missing ones."""
    missing = command("put", "testsrc:duration=1", "door", "-q", "--iot")
    assert missing.exit_code == 2
    assert "AWS_IOT_CORE_CREDENTIAL_ENDPOINT" in missing.stderr
    for name, value in iot.environment().items():
        monkeypatch.setenv(name, value)
    chosen = ("--iot", "--ca-bundle", str(iot.ca))
    out = tmp_path / "out.mkv"
    put = command("put", "testsrc:duration=1,size=64x48", "door", "-q", *chosen)
    assert put.exit_code == 0, put.stderr
    got = command("get", "door", "-o", str(out), "--max-fragments", "1", "--idle", "20", *chosen)
    assert got.exit_code == 0, got.stderr
    assert out.stat().st_size
    both = command("put", "testsrc:duration=1", "door", *chosen, "--credentials-file", "keys")
    assert both.exit_code == 2
    iot.reply = lambda: (403, b"")
    refused = command("put", "testsrc:duration=1", "door", "-q", *chosen)
    assert refused.exit_code == 1
    assert "HTTP 403" in " ".join(refused.stderr.split())


def test_no_credentials_is_one_status(command: Callable[..., Any], iot_url: str, kit: Any) -> None:
    """From put, get_media, list_fragments and the command line alike."""
    options: dict[str, Any] = {"region_name": "us-west-2", "endpoint_url": iot_url}
    attempts: list[Callable[[], object]] = [
        lambda: kvs.put_media("testsrc:duration=1,size=64x48", "door", **options),
        lambda: list(kvs.get_media("door", **options)),
        lambda: kvs.list_fragments("door", **options),
        lambda: asyncio.run(aio.put_media("testsrc:duration=1,size=64x48", "door", **options)),
    ]
    for attempt in attempts:
        with pytest.raises(PermissionError, match="no AWS credentials were found") as caught:
            attempt()
        assert isinstance(caught.value, kvs.KvsError)
        assert caught.value.status is S.SERVICE_CALL_NOT_AUTHORIZED_ERROR
    for words in (("put", "testsrc:duration=1,size=64x48", "door", "-q"), ("get", "door")):
        ran = command(*words)
        assert ran.exit_code == 1
        assert "0x52000010" in ran.stderr
        assert "no AWS credentials were found" in " ".join(ran.stderr.split())
