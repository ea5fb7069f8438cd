"""Provocations for the statuses of service calls."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.loaders import Loader
from botocore.session import Session
from tests.status_codes.place import Place, Provocation, Table

from kvsproducer import (
    CallbacksProvider,
    Event,
    FileLogHandler,
    PlatformCallbacks,
    Producer,
    ServiceConfig,
    StatusCode,
    StreamInfo,
    aio,
    list_fragments,
)

_S = StatusCode
NO_SERVER = "http://127.0.0.1:9"  # a port without a server
HOUR = 36_000_000_000
INFO = StreamInfo.video("h264")
LIMIT_S = 60


def config(**members: object) -> Provocation:
    """Make a configuration with these members."""
    return lambda _: ServiceConfig(**members) and None  # type: ignore[arg-type]


@contextmanager
def service_that_says(body: bytes) -> Iterator[str]:
    """Run a server that answers every request with this body; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def report_until(
    until: StatusCode,
    place: Place,
    condition: AbstractContextManager[None] | None = None,
    **named: object,
) -> Sequence[object]:
    """Return what a producer logs and reports about a stream until this status appears."""
    events: list[Event] = []
    place.log.set_level("INFO")
    producer = Producer(region_name="us-west-2", on_event=events.append, **named)  # type: ignore[arg-type]
    try:
        with condition or nullcontext():
            producer.open_stream("door", INFO)
            end = time.monotonic() + LIMIT_S
            while time.monotonic() < end and until.name not in f"{place.log.text} {events}":
                time.sleep(0.01)
    finally:
        producer.close(0)
    return [*events, *place.logged()]


def portal(_: Place) -> None:
    """Let the log-in page of a network answer instead of the service."""
    with service_that_says(b"<html>Please log in</html>") as url:
        list_fragments("door", endpoint_url=url)


def empty_description(place: Place) -> object:
    with service_that_says(b"{}") as url:
        return report_until(_S.INVALID_DESCRIBE_STREAM_RETURN_JSON, place, endpoint_url=url)


@contextmanager
def no_more_files() -> Iterator[None]:
    """Use all file descriptors of the process."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
        for descriptor in taken:
            os.close(descriptor)


def no_sockets_left(place: Place) -> object:
    url = place.endpoint_url()
    return report_until(_S.CURL_INIT_FAILED, place, no_more_files(), endpoint_url=url)


def botocore_without_its_models(_: Place) -> None:
    session = Session()
    empty = Loader(include_default_search_paths=False)
    session.register_component("data_loader", empty)
    list_fragments("door", session=session, region_name="us-west-2")


def secret_that_is_not_text(place: Place) -> object:
    """The secret is not text, for example because it was pasted in UTF-16."""
    place.patch.setenv("AWS_SECRET_ACCESS_KEY", os.fsdecode(b"\xff\xfewJalrXUtnFEMI"))
    seen = report_until(_S.HMAC_GENERATION_ERROR, place, endpoint_url=NO_SERVER)
    assert "wJalrXUtnFEMI" not in f"{seen} {place.log.text}"
    return seen


def application_of_a_long_name(place: Place) -> None:
    """Each part has its maximum length, and together they are too long."""
    place.patch.setenv("AWS_SDK_UA_APP_ID", "a" * 50)
    config = ServiceConfig(user_agent_name="n" * 32, user_agent_extra="e" * 128)
    Producer(region_name="us-west-2", endpoint_url=NO_SERVER, config=config)


def close_during_wait(_: Place) -> object:
    async def work() -> list[object]:
        async with aio.Producer(region_name="us-west-2", endpoint_url=NO_SERVER) as producer:
            stream = producer.open_stream("door", INFO)
            waiting = asyncio.create_task(stream.wait_ready())
            await asyncio.sleep(0)
            await stream.close(0)
            return await asyncio.gather(waiting, return_exceptions=True)

    return asyncio.run(work())


def outage_of_minutes(place: Place) -> object:
    """Use a clock that is a thousand times as fast."""
    provider = CallbacksProvider()
    provider.set_platform(PlatformCallbacks(get_random_number=lambda _: 0))
    clock = "kvsproducer.service.clock.monotonic_ns"
    place.patch.setattr(clock, lambda: 1000 * time.monotonic_ns())
    return report_until(
        _S.CONTINUOUS_RETRY_RESET_FAILED, place, endpoint_url=NO_SERVER, callbacks=provider
    )


def index_of_another_program(place: Place) -> None:
    (place.folder / "kvsFileLogIndex").write_text("7" * 256)
    FileLogHandler(place.folder)


def opened_after_close(_: Place) -> None:
    producer = Producer(region_name="us-west-2", endpoint_url=NO_SERVER)
    producer.close(0)
    producer.open_stream("door", INFO)


TABLE: Table = {
    _S.MAX_REQUEST_HEADER_COUNT: config(extra_headers={f"x-{n}": "v" for n in range(185)}),
    _S.MAX_REQUEST_HEADER_NAME_LEN: config(extra_headers={"n" * 128: "v"}),
    _S.MAX_REQUEST_HEADER_VALUE_LEN: config(extra_headers={"x-name": "v" * 2048}),
    _S.INVALID_API_CALL_RETURN_JSON: portal,
    _S.CURL_INIT_FAILED: no_sockets_left,
    _S.CURL_LIBRARY_INIT_FAILED: botocore_without_its_models,
    _S.INVALID_DESCRIBE_STREAM_RETURN_JSON: empty_description,
    _S.HMAC_GENERATION_ERROR: secret_that_is_not_text,
    _S.MAX_USER_AGENT_NAME_POSTFIX_LEN_EXCEEDED: config(user_agent_name="n" * 33),
    _S.MAX_CUSTOM_USER_AGENT_LEN_EXCEEDED: config(user_agent_extra="e" * 129),
    _S.INVALID_USER_AGENT_LENGTH: application_of_a_long_name,
    _S.INVALID_ENDPOINT_CACHING_PERIOD: config(caching_period=25 * 3600),
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    _S.INVALID_CA_CERT_PATH: lambda place: (
        Producer(region_name="us-west-2", verify=str(place.folder / "ca.pem")) and None
    ),
    _S.FILE_LOGGER_INDEX_FILE_TOO_LARGE: index_of_another_program,
    _S.FILE_LOGGER_INDEX_FILE_INVALID_SIZE: index_of_another_program,
    _S.STREAM_BEING_SHUTDOWN: close_during_wait,
    _S.CLIENT_BEING_SHUTDOWN: opened_after_close,
    _S.CONTINUOUS_RETRY_RESET_FAILED: outage_of_minutes,
}
