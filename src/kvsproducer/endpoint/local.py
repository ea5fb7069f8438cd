"""Run the endpoint inside a program (in the event loop or a thread), or for `kvs serve`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
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
_STOP_TIMEOUT_S: Final = 5.0  # for the store to keep what open uploads have handed over
_GRACE_S: Final = 0.5  # for peers to read what was written to them, such as the last acks
_CLOSE_TIMEOUT_S: Final = 0.5  # for requests to end after that, and again once they are cancelled
_LOOK_S: Final = 0.05
_BACKLOG: Final = 128  # connections that wait to be accepted
_ACCEPTING_TURNS: Final = (
    5  # turns of the event loop between accepting a connection and creating its protocol
)
_http_log = logging.getLogger(__name__ + ".http")


def _shorten_record(record: logging.LogRecord) -> bool:
    """Shorten the log record of a request that is not HTTP to one line without a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        detail = " ".join(error.message.split())
        record.msg, record.args = "a request that is not HTTP was refused: %s", (detail,)
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


_http_log.addFilter(_shorten_record)


class LocalEndpoint:
    """A KVS endpoint on a TCP port, in the caller's event loop.

        async with LocalEndpoint(data_dir) as endpoint:
            boto3.client("kinesisvideo", endpoint_url=endpoint.url, ...)

    `data_dir`: folder for the media. Fragments acknowledged as PERSISTED survive a restart.
    None: everything is kept in memory.

    `port`: 0 selects a free port.

    `verify_signatures`: maps access keys to `Credentials`. Requests must be signed with one of
    these. None: signatures are not checked.

    `ssl_context`: None for HTTP, else HTTPS.

    `data_endpoint`: what GetDataEndpoint returns; by default, the address that the client used.

    `faults`: faults for chosen requests; see `Fault`.

    `region`: the region of the streams, and the only one accepted in signatures. None: us-west-2
    for the streams, any for signatures.
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
        """`http://HOST:PORT` (with TLS: `https://`), available once the endpoint has started."""
        assert self._url, "the endpoint has not been started"
        return self._url

    async def start(self) -> None:
        """Open the store and the port. Raises OSError if either fails."""
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
            assert self._runner.server is not None, "setup() creates it"
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
        """End open requests, store received fragments, and close; usually within 2 seconds.

        Peers have 0.5 s to read the data sent to them; then their connections are aborted. Only a
        slow disk may take longer: the endpoint waits up to 5 s until received fragments are stored.
        """
        if self._server is not None:
            await _stop_accepting(self._server)
        async with _aborted(self._runner):
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
    """Close the port, but first let the runner take over connections that were just accepted.

    The runner closes its connections later. Without this delay, closing the server would lose track
    of connections that the runner does not know yet.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        with contextlib.suppress(
            NotImplementedError
        ):  # the event loop on Windows does not support this
            loop.remove_reader(listening.fileno())
    for _ in range(_ACCEPTING_TURNS):
        await asyncio.sleep(0)
    server.close()


@contextlib.asynccontextmanager
async def _aborted(runner: web.AppRunner | None) -> AsyncGenerator[None, None]:
    """Abort open connections whose peers do not read, after a grace period; on exit, abort all.

    A request that waits to write to such a peer would keep the endpoint from stopping. A normal
    close would wait for the peer too, and the socket would still be open after the loop has ended.
    """
    server = None if runner is None else runner.server
    transports = [one.transport for one in server.connections] if server is not None else []
    opened = [one for one in transports if one is not None]

    async def abort_unread() -> None:
        await asyncio.sleep(_GRACE_S)
        while True:
            for one in opened:
                if one.get_write_buffer_size():
                    one.abort()
            await asyncio.sleep(_LOOK_S)

    watch = asyncio.create_task(abort_unread())
    try:
        yield
    finally:
        watch.cancel()
        for one in opened:
            one.abort()
        await asyncio.gather(watch, return_exceptions=True)


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
    """Run a `LocalEndpoint` in its own thread, for blocking callers.

        with local_endpoint() as endpoint:
            boto3.client("kinesisvideo", endpoint_url=endpoint.url, ...)

    Raises OSError if the port or the folder cannot be opened.
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
            if running.done():  # a bug in stopping: let threading.excepthook show it
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
    """Run an endpoint until SIGINT or SIGTERM, then stop it. Call it in the main thread.

    `on_listening(url)` is called when the endpoint accepts connections. Raises OSError as `start`
    does.
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
