"""Running the endpoint: inside a program (asyncio or a thread), or as `kvs serve`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.faults import Fault, FaultScript
from kvsproducer.endpoint.server import EndpointApplication, system_now
from kvsproducer.endpoint.sigv4 import Credentials
from kvsproducer.endpoint.store import Store, open_store

__all__ = ["LocalEndpoint", "local_endpoint", "run_server"]

DEFAULT_HOST: Final = "127.0.0.1"
_STOP_TIMEOUT_S: Final = 5.0  # for open uploads to get their last acks
_CLOSE_TIMEOUT_S: Final = 1.0  # for connections to close after that
_BACKLOG: Final = 128  # connections that wait to be accepted
_ACCEPTING_TURNS: Final = 5  # of the loop, from a connection's accepting to its protocol
_http_log = logging.getLogger(__name__ + ".http")


def _one_line(record: logging.LogRecord) -> bool:
    """Log a request that is not HTTP without a traceback: nothing is wrong with the endpoint."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        detail = " ".join(error.message.split())
        record.msg, record.args = "a request that is not HTTP was refused: %s", (detail,)
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


_http_log.addFilter(_one_line)


class LocalEndpoint:
    """A KVS endpoint on a TCP port, run by the caller's event loop.

        async with LocalEndpoint(data_dir) as endpoint:
            boto3.client("kinesisvideo", endpoint_url=endpoint.url, ...)

    Without `data_dir` everything is in memory; with it, what was acknowledged as PERSISTED
    survives. Port 0 takes a free one. `verify_signatures` maps the access keys that requests must
    be signed with to their `Credentials`; None accepts everything. `ssl_context` makes it HTTPS.
    `data_endpoint` is what GetDataEndpoint answers; by default, the address that the client used.
    `faults` is what is to go wrong; see `Fault`. `region` is the streams', and the only one that
    signatures may be for; None: us-west-2 for the streams, any for signatures.
    """

    def __init__(
        self,
        data_dir: Path | str | None = None,
        host: str = DEFAULT_HOST,
        port: int = 0,
        *,
        verify_signatures: Mapping[str, Credentials] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        limits: EndpointLimits | None = None,
        data_endpoint: str | None = None,
        faults: Iterable[Fault] = (),
        region: str | None = None,
        now: Callable[[], int] = system_now,
        store: Store | None = None,
    ) -> None:
        self.faults = FaultScript(faults)
        self._data_dir = data_dir
        self._host = host
        self._port = port
        self._known = verify_signatures
        self._ssl_context = ssl_context
        self._limits = limits
        self._data_endpoint = data_endpoint
        self._region = region
        self._now = now
        self._store = store
        self._application: EndpointApplication | None = None
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """`http://HOST:PORT`, once started."""
        assert self._url, "the endpoint has not been started"
        return self._url

    async def start(self) -> None:
        """Opens the store and the port. Raises OSError when either is not to be had."""
        if self._store is None:
            self._store = await asyncio.to_thread(open_store, self._data_dir, self._now())
        self._application = EndpointApplication(
            self._store,
            known=self._known,
            bounds=self._limits,
            now=self._now,
            data_endpoint=self._data_endpoint,
            faults=self.faults if self.faults else None,
            region=self._region,
        )
        self._runner = web.AppRunner(
            self._application.app,
            access_log=None,
            logger=_http_log,
            shutdown_timeout=_CLOSE_TIMEOUT_S,
        )
        try:
            await self._runner.setup()
            assert self._runner.server is not None, "it is set up"
            self._server = await asyncio.get_running_loop().create_server(
                self._runner.server,
                self._host,
                self._port,
                ssl=self._ssl_context,
                backlog=_BACKLOG,
            )
        except BaseException:
            await self.stop()
            raise
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"{'https' if self._ssl_context else 'http'}://{host}:{port}"

    async def stop(self) -> None:
        """Ends open requests, stores what was received, closes; within some seconds."""
        if self._server is not None:
            await _stop_accepting(self._server)
        if self._application is not None:
            await self._application.stop(_STOP_TIMEOUT_S)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._store is not None:
            await asyncio.to_thread(self._store.close)
        self._application = self._runner = self._server = self._store = None

    async def __aenter__(self) -> LocalEndpoint:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


async def _stop_accepting(server: asyncio.Server) -> None:
    """Close the port.

    What was accepted just now first becomes a connection that the runner knows, and will close: a
    server that is closed in between forgets it.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        with contextlib.suppress(NotImplementedError):  # Windows: its loop has no such moment
            loop.remove_reader(listening.fileno())
    for _ in range(_ACCEPTING_TURNS):
        await asyncio.sleep(0)
    server.close()


@contextlib.contextmanager
def local_endpoint(
    data_dir: Path | str | None = None,
    host: str = DEFAULT_HOST,
    port: int = 0,
    *,
    verify_signatures: Mapping[str, Credentials] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    limits: EndpointLimits | None = None,
    faults: Iterable[Fault] = (),
    region: str | None = None,
    now: Callable[[], int] = system_now,
    store: Store | None = None,
) -> Iterator[LocalEndpoint]:
    """A `LocalEndpoint` in a thread of its own, for blocking callers.

    with local_endpoint() as endpoint:
        boto3.client("kinesisvideo", endpoint_url=endpoint.url, ...)

    Raises OSError when the port or the folder is not to be had.
    """
    endpoint = LocalEndpoint(
        data_dir,
        host,
        port,
        verify_signatures=verify_signatures,
        ssl_context=ssl_context,
        limits=limits,
        faults=faults,
        region=region,
        now=now,
        store=store,
    )
    running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        ended = asyncio.Event()
        async with endpoint:
            running.set_result((asyncio.get_running_loop(), ended))
            await ended.wait()

    def run_in_thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            if running.done():  # a bug in stopping: let the thread's hook show it
                raise
            running.set_exception(error)

    thread = threading.Thread(target=run_in_thread, name="kvs-endpoint", daemon=True)
    thread.start()
    loop, ended = running.result()
    try:
        yield endpoint
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


def run_server(endpoint: LocalEndpoint, on_listening: Callable[[str], None]) -> None:
    """Runs an endpoint until SIGINT or SIGTERM, then stops it cleanly. For the main thread.

    `on_listening(url)` is called once connections are accepted. Raises OSError as `start` does.
    """
    asyncio.run(_serve(endpoint, on_listening))


async def _serve(endpoint: LocalEndpoint, on_listening: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(ended.set)

    previous = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        async with endpoint:
            on_listening(endpoint.url)
            await ended.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
