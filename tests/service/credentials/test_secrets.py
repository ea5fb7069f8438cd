"""No repr, log line, event or message shows a secret."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import Any

import pytest
from botocore.credentials import Credentials as BotocoreKeys
from tests.iot import IotEndpoint, answer
from tests.peers import Server

import kvsproducer as kvs
from kvsproducer.endpoint import Credentials, local_endpoint

SECRETS = ("SENTINELSECRET", "SENTINELTOKEN", "SENTINELPROXY")
SECRET, TOKEN, PASSWORD = SECRETS
KEY = "AKIDEXAMPLE"
Given = Callable[[Path, IotEndpoint], Any]


def leaks() -> kvs.AwsCredentials:
    """A user's function whose exception contains a secret."""
    raise RuntimeError(f"cannot use {SECRET} and {TOKEN}")


def file(text: str) -> Given:
    def make(folder: Path, _: IotEndpoint) -> kvs.FileCredentials:
        (folder / "keys").write_text(text)
        return kvs.FileCredentials(folder / "keys")

    return make


def iot_answering(status: int, body: bytes) -> Given:
    def make(_: Path, iot: IotEndpoint) -> kvs.IotCredentials:
        iot.reply = lambda: (status, body)
        return kvs.IotCredentials(**iot.options())

    return make


def returning(value: object) -> Given:
    return lambda folder, iot: lambda: value


KNOWN: dict[str, Given] = {
    "static": lambda folder, iot: kvs.AwsCredentials(KEY, SECRET, TOKEN),
    "file": file(f"CREDENTIALS {KEY} {SECRET} {TOKEN}"),
    "iot": iot_answering(200, answer(accessKeyId=KEY, secretAccessKey=SECRET, sessionToken=TOKEN)),
    "dict": returning({"AccessKeyId": KEY, "SecretAccessKey": SECRET, "SessionToken": TOKEN}),
    "botocore": lambda folder, iot: BotocoreKeys(KEY, SECRET, TOKEN),
}
FAILING: dict[str, Given] = {
    "static, too long": lambda folder, iot: kvs.AwsCredentials(KEY, SECRET * 1_000, TOKEN),
    "static, line break": lambda folder, iot: kvs.AwsCredentials(KEY, f"{SECRET}\n", TOKEN),
    "static, no text": lambda folder, iot: kvs.AwsCredentials(KEY, f"\udcff{SECRET}", TOKEN),
    "token, no text": lambda folder, iot: kvs.AwsCredentials(KEY, SECRET, f"\udcff{TOKEN}"),
    "static, expired": lambda folder, iot: kvs.AwsCredentials(KEY, SECRET, TOKEN, 1),
    "file, no keyword": file(f"{SECRET} {TOKEN}"),
    "file, too many words": file(f"CREDENTIALS {KEY} {SECRET} {TOKEN} {TOKEN} {SECRET}"),
    "file, secret for expiration": file(f"CREDENTIALS {KEY} {SECRET} {TOKEN} {TOKEN}"),
    "file, expired": file(f"CREDENTIALS {KEY} 2020-01-01T00:00:00Z {SECRET} {TOKEN}"),
    "file, too long": file(f"CREDENTIALS {KEY} {SECRET} {TOKEN * 1_000}"),
    "iot, no JSON": iot_answering(200, f"{SECRET} {TOKEN}".encode()),
    "iot, bad bytes": iot_answering(200, f"{SECRET} {TOKEN}".encode() + b"\xff"),
    "iot, no text": iot_answering(
        200, answer(secretAccessKey=f"\udcff{SECRET}", sessionToken=f"\udcff{TOKEN}")
    ),
    "iot, refused": iot_answering(403, f"{SECRET} {TOKEN}".encode()),
    "iot, no key": iot_answering(
        200, answer(accessKeyId=None, secretAccessKey=SECRET, sessionToken=TOKEN)
    ),
    "iot, over-long": iot_answering(200, answer(secretAccessKey=SECRET * 20, sessionToken=TOKEN)),
    "iot, secret for expiration": iot_answering(200, answer(expiration=SECRET)),
    "raises": lambda folder, iot: leaks,
    "returns no text": returning({"AccessKeyId": KEY, "SecretAccessKey": f"{SECRET}\ud800"}),
    "botocore, no text": lambda folder, iot: BotocoreKeys(KEY, f"{SECRET}\udcff", TOKEN),
    "botocore, key no text": lambda folder, iot: BotocoreKeys("\udcff", SECRET, TOKEN),
    "wrong version": returning({"version": 1, "secret_access_key": SECRET}),
    "wrong member": returning({"access_key_id": KEY, "secret_access_key": [SECRET]}),
    "wrong kind": returning((KEY, SECRET, TOKEN)),
    "text": returning(SECRET),
    "given as text": lambda folder, iot: f"{SECRET}:{TOKEN}",
}


class Watch:
    """Collect all texts of the package from now on."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        for name in ("kvsproducer", "botocore", "aiohttp"):
            caplog.set_level(logging.DEBUG, name)
        self._caplog = caplog
        self.said: list[str] = []

    def event(self, event: kvs.Event) -> None:
        self.said.append(repr(event))

    def error(self, error: BaseException) -> None:
        """Return the texts of an error, and its traceback down to the user's own exception."""
        self.said += [str(error), repr(error), repr(error.args)]
        self.said += traceback.format_exception(error, chain=False)
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None and not isinstance(cause, RuntimeError):
            self.error(cause)

    def check(self) -> None:
        """Check that no text contains a secret, including the logs of botocore and aiohttp."""
        formatter = logging.Formatter()
        self.said += map(formatter.format, self._caplog.records)
        assert self.said
        for text in self.said:
            assert not any(secret in text for secret in SECRETS), text


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Watch:
    return Watch(caplog)


@pytest.fixture
def urls() -> Iterator[tuple[str, str]]:
    """An endpoint that accepts the keys, and one that refuses them."""
    with (
        local_endpoint(verify_signatures={KEY: Credentials(SECRET, TOKEN)}) as good,
        local_endpoint(verify_signatures={KEY: Credentials("another", TOKEN)}) as bad,
    ):
        yield good.url, bad.url


def attempt(url: str, credentials: Any, watch: Watch) -> None:
    """Put a frame, and collect the texts of what is raised."""
    info = kvs.StreamInfo.video(
        "h264", retention="PT1H", frame_rate=25, nal_adaptation=kvs.NalAdaptation.NONE
    )
    try:
        with kvs.Producer(
            region_name="us-west-2",
            endpoint_url=url,
            credentials=credentials,
            config=kvs.ServiceConfig(continuous_retry=False),
            on_event=watch.event,
        ) as producer:
            watch.said.append(f"{producer!r} {vars(producer)}")
            with producer.open_stream("door", info) as stream:
                stream.wait_ready(20)
                stream.put_frame(kvs.Frame(b"data", kvs.now(), key_frame=True))
    except kvs.KvsError as error:
        watch.error(error)


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvsproducer.client.backoff.BACKOFF_BASE", 1_000)


@pytest.mark.parametrize("kind", KNOWN)
def test_credentials_that_are_good_or_refused(
    kind: str, urls: tuple[str, str], watch: Watch, tmp_path: Path, iot: IotEndpoint
) -> None:
    """A producer uses them, with logging at DEBUG."""
    credentials = KNOWN[kind](tmp_path, iot)
    watch.said.append(repr(credentials) if kind not in ("botocore", "dict") else kind)
    for url in urls:
        attempt(url, credentials, watch)
    assert sum("UploadStarted" in text for text in watch.said) == 1
    assert any("HTTP 403" in text for text in watch.said)
    watch.check()


@pytest.mark.parametrize("kind", FAILING)
def test_credentials_that_fail(
    kind: str, urls: tuple[str, str], watch: Watch, tmp_path: Path, iot: IotEndpoint
) -> None:
    """They fail when they are created or used."""
    try:
        credentials = FAILING[kind](tmp_path, iot)
    except kvs.KvsError as error:
        watch.error(error)
    else:
        attempt(urls[0], credentials, watch)
    assert not any("UploadStarted" in text for text in watch.said)
    watch.check()


ANSWERS = {
    "refused": b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9_000 + b"\r\n",
    "hangs up": b"",
    "hangs up later": b"HTTP/1.1 200 Connected\r\n\r\n",
}


class Answering(Server):
    """A proxy that always sends the same response."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        super().__init__()

    def talk(self, connection: socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(20)
            connection.recv(65_536)
            connection.sendall(self._answer)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_proxies_that_misbehave(
    kind: str, scheme: str, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text shows their password or the session token, down to aiohttp's exception."""
    proxy = Answering(ANSWERS[kind])
    place = f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}"
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", place)
    try:
        with pytest.raises(kvs.KvsError) as caught:
            kvs.list_fragments(
                "door",
                endpoint_url=f"{scheme}://kinesisvideo.invalid",
                credentials=kvs.AwsCredentials(KEY, SECRET, TOKEN),
            )
    finally:
        proxy.end()
    assert proxy.connections
    watch.error(caught.value)
    watch.check()
