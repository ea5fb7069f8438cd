"""An HTTP server for Prometheus metrics and a health check.

`/metrics` returns the values of AWS's StreamMetrics and ClientMetrics and the frame accounts, as
text for Prometheus in base units (seconds, bytes). `/health` returns 200. It returns 503, with the
reason as JSON, if a stream has failed, or if the service has sent no ack for too long while a
stream holds frames. To measure that time, the server checks the streams twice a second, even if
there are no requests.

The server listens on 127.0.0.1 unless `host` gives another address, and has no authentication.
Clients cannot exhaust its threads: a connection carries one request and is closed after 10 s. If
there are more than 32 connections, the oldest ones are closed.

This module needs the extra `metrics`; it is the only one that imports `prometheus_client`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import islice
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any, Final

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_SECOND, to_seconds
from kvsproducer.producer.facade import ProducerFacade, StreamFacade, Timeout
from kvsproducer.service.loop import start_thread
from kvsproducer.status import ConnectionFailed, KvsError, StatusCode, kvs_error
from kvsproducer.status.system import in_words

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
    from prometheus_client.registry import Collector
except ImportError as error:  # the extra is not installed
    _MISSING: ImportError | None = error
    Collector = object  # type: ignore[assignment,misc]
else:
    _MISSING = None

__all__ = ["Health", "MetricsServer"]

log = logging.getLogger("kvsproducer.metrics")

DEFAULT_MAX_SILENCE_S: Final = 60.0  # three times the longest fragment
LOOK_PERIOD_S: Final = 0.5
_REQUEST_LIMIT_S: Final = 10  # after that, a connection with an unfinished request is closed
_MAX_CONNECTIONS: Final = 32  # our choice; each connection has a thread
_CLOSING_LIMIT_S: Final = 5  # how long `close` waits for the threads of open connections

_Producer = ProducerFacade[Any]
_S = 1 / TICKS_PER_SECOND

# Metrics of a stream: name, description, source, factor to the base unit. A name that ends in
# "_total" is a counter; the others are gauges.
_Source = Callable[[core.StreamMetrics], float]
_STREAM: Final[tuple[tuple[str, str, _Source, float], ...]] = (
    ("unsent_seconds", "Media that waits to be sent.", lambda m: m.current_view_duration, _S),
    ("unsent_bytes", "Bytes that wait to be sent.", lambda m: m.current_view_size, 1),
    ("held_seconds", "Media held until it is stored.", lambda m: m.overall_view_duration, _S),
    ("held_bytes", "Bytes held until they are stored.", lambda m: m.overall_view_size, 1),
    ("frame_rate", "Frames put per second.", lambda m: m.current_frame_rate, 1),
    ("media_frame_rate", "Frames per second of media.", lambda m: m.elementary_frame_rate, 1),
    ("transfer_bytes_per_second", "Upload rate.", lambda m: m.current_transfer_rate, 1),
    ("uptime_seconds", "Since the stream was opened.", lambda m: m.uptime, _S),
    ("session_seconds", "Mean length of a session.", lambda m: m.counters.avg_session_duration, _S),
    (
        "control_call_seconds",
        "Mean time of a control-plane call.",
        lambda m: m.counters.cpl_api_call_latency,
        _S,
    ),
    (
        "data_call_seconds",
        "Mean time of a data-plane call.",
        lambda m: m.counters.data_api_call_latency,
        _S,
    ),
    ("sent_bytes_total", "Bytes sent.", lambda m: m.counters.transferred_bytes, 1),
    ("sessions_total", "Uploads begun.", lambda m: m.counters.total_sessions, 1),
    ("stale_events_total", "Stale connections.", lambda m: m.counters.stale_events, 1),
    ("put_frame_errors_total", "Frames refused.", lambda m: m.counters.put_frame_errors, 1),
    ("call_retries_total", "Service calls repeated.", lambda m: m.counters.api_call_retries, 1),
)
_ACKS: Final = ("buffered", "received", "persisted", "error")
_PRESSURES: Final = ("storage", "latency", "buffer")
_FATES: Final = ("accepted", "persisted", "dropped", "skipped")
_CLIENT: Final[tuple[tuple[str, str, Callable[[core.ClientMetrics], float]], ...]] = (
    ("store_size_bytes", "Size of the content store.", lambda m: m.content_store_size),
    ("store_used_bytes", "Bytes held in it.", lambda m: m.content_store_allocated_size),
    ("frame_rate", "Frames put per second.", lambda m: m.total_frame_rate),
    ("transfer_bytes_per_second", "Upload rate.", lambda m: m.total_transfer_rate),
    ("call_retries", "Service calls repeated, per stream.", lambda m: m.avg_api_call_retry_count),
)


@dataclass(frozen=True, slots=True)
class Health:
    """The result of a health check; `problems` has a text for each stream with a problem."""

    problems: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


class _Silence:
    """Measures for how long each stream has received no ack while it holds frames."""

    def __init__(self, max_silence_s: float) -> None:
        self._max_s = max_silence_s
        self._since: dict[str, tuple[int, float]] = {}  # number of acks, time of the last change
        self._lock = threading.Lock()

    def look(self, streams: Mapping[str, StreamFacade], now_s: float) -> Health:
        """Check the streams now and return their problems; `now_s` is monotonic time in seconds."""
        problems: dict[str, str] = {}
        since: dict[str, tuple[int, float]] = {}
        with self._lock:
            for name, stream in streams.items():
                held, counters = stream.account().held, stream.metrics().counters
                acks = sum(getattr(counters, f"{kind}_acks") for kind in _ACKS)
                acks_before, began_s = self._since.get(name, (acks, now_s))
                if held == 0 or acks != acks_before:
                    began_s = now_s
                since[name] = (acks, began_s)
                if stream.failure is not None:
                    problems[name] = f"failed: {stream.failure.name}: {stream.failure.detail}"
                elif now_s - began_s > self._max_s:
                    problems[name] = (
                        f"no ack for {now_s - began_s:.0f} s while {held} frames are held"
                        f" (state {stream.state.value})"
                    )
            self._since = since
        return Health(problems)


class MetricsServer:
    """An HTTP server with `/metrics` and `/health` of a producer, until it is closed.

        with kvs.Producer() as producer, kvs.MetricsServer(producer, 9464):
            ...

    producer: a blocking or an asyncio `Producer`.
    port: the TCP port, default 9464; 0 chooses a free one (see `url`).
    host: the address to listen on, default "127.0.0.1"; "0.0.0.0" accepts other machines.
    max_silence: how long a stream that holds frames may get no ack before `/health` returns 503:
        seconds, a `timedelta` or ISO 8601 text; default 60 s.

    Raises NOT_FOUND if the extra `metrics` is not installed; INVALID_ARG if `producer` is not a
    Producer, if `max_silence` is not above 0, and for a host or port of a wrong type or range;
    INVALID_OPERATION if the address cannot be used. Source: the text format of Prometheus.
    """

    def __init__(
        self,
        producer: _Producer,
        port: int = 9464,
        *,
        host: str = "127.0.0.1",
        max_silence: Timeout = DEFAULT_MAX_SILENCE_S,
    ) -> None:
        if _MISSING is not None:
            raise kvs_error(
                StatusCode.NOT_FOUND,
                "metrics need prometheus_client: pip install 'kvsproducer[metrics]'",
            ) from _MISSING
        if not isinstance(producer, ProducerFacade):
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"producer= is {type(producer).__name__}: give a Producer, blocking or asyncio",
            )
        max_silence_s = to_seconds(max_silence, "max_silence")
        if not max_silence_s > 0:
            raise kvs_error(StatusCode.INVALID_ARG, f"max_silence={max_silence!r} is not above 0")
        self._producer = producer
        self._silence = _Silence(max_silence_s)
        registry = CollectorRegistry()
        registry.register(_Figures(producer))
        try:
            self._server = _Server((host, port), lambda: generate_latest(registry), self.health)
        except TypeError as error:
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"host={host!r}, port={port!r}: give an address as text, and a port from 0 to 65535"
                " as int",
            ) from error
        except OverflowError as error:
            raise kvs_error(
                StatusCode.INVALID_ARG, f"port={port} is not a port from 0 to 65535"
            ) from error
        except OSError as error:
            raise ConnectionFailed(
                StatusCode.INVALID_OPERATION, f"cannot listen on {host}:{port}: {in_words(error)}"
            ) from error
        self._process = os.getpid()
        try:
            self._thread = start_thread(self._serve, "kvsproducer-metrics")
        except KvsError:
            self._server.server_close()
            raise

    def _serve(self) -> None:
        self._server.serve_forever(LOOK_PERIOD_S)

    @property
    def url(self) -> str:
        """The base URL of `/metrics` and `/health`: `http://HOST:PORT`."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def health(self) -> Health:
        """Return the health that `/health` reports now."""
        return self._silence.look(self._producer.streams, time.monotonic())

    def close(self) -> None:
        """Stop serving and close open connections; a second call has no effect.

        In a forked child it only closes the child's copy of the listening socket.
        """
        if os.getpid() != self._process:
            self._server.server_close()
            return
        self._server.shutdown()
        self._server.server_close()
        self._server.cut(_CLOSING_LIMIT_S)
        self._thread.join()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Figures(Collector):
    """The collector that computes the metrics when Prometheus requests them."""

    def __init__(self, producer: _Producer) -> None:
        self._producer = producer

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering this collector does not call `collect`."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics with their current values."""
        client = self._producer.metrics()
        for name, text, client_figure in _CLIENT:
            yield GaugeMetricFamily(f"kvs_client_{name}", text, client_figure(client))
        streams = self._producer.streams
        found = {name: stream.metrics() for name, stream in streams.items()}
        for name, text, figure, factor in _STREAM:
            family = _family(name, text, "stream")
            for stream, metrics in found.items():
                family.add_metric([stream], figure(metrics) * factor)
            yield family
        for name, text, label, members, pattern in (
            ("acks_total", "Acks of the service.", "type", _ACKS, "{}_acks"),
            ("pressures_total", "Times that room was short.", "kind", _PRESSURES, "{}_pressures"),
        ):
            family = _family(name, text, "stream", label)
            for stream, metrics in found.items():
                for member in members:
                    count = getattr(metrics.counters, pattern.format(member))
                    family.add_metric([stream, member], count)
            yield family
        yield from self._books(streams)

    @staticmethod
    def _books(streams: dict[str, StreamFacade]) -> Iterator[Metric]:
        """Yield the frame accounts and the states of the streams."""
        frames = _family("frames_total", "What became of frames.", "stream", "fate")
        held = _family("held_frames", "Frames held until they are stored.", "stream")
        state = _family("state", "1 for the state that the stream is in.", "stream", "state")
        for name, stream in streams.items():
            account = stream.account()
            for fate in _FATES:
                frames.add_metric([name, fate], getattr(account, fate))
            held.add_metric([name], account.held)
            state.add_metric([name, stream.state.value], 1)
        yield from (frames, held, state)


def _family(name: str, text: str, *labels: str) -> CounterMetricFamily | GaugeMetricFamily:
    full = f"kvs_stream_{name}"
    if name.endswith("_total"):
        return CounterMetricFamily(full, text, labels=labels)
    return GaugeMetricFamily(full, text, labels=labels)


class _Server(ThreadingMixIn, TCPServer):
    """The listening server; it also runs the health check between requests.

    It does not derive from HTTPServer, because that resolves the name of its address.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * _MAX_CONNECTIONS

    def __init__(
        self,
        address: tuple[str, int],
        figures: Callable[[], bytes],
        health: Callable[[], Health],
    ) -> None:
        self.figures, self.health = figures, health
        self._open: dict[socket.socket, float] = {}  # when each was opened, oldest first
        self._changed = threading.Condition()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def service_actions(self) -> None:
        """Check health and close old connections; called twice a second and after each request."""
        self.health()
        late = time.monotonic() - _REQUEST_LIMIT_S
        with self._changed:
            self._hang_up(one for one, since in self._open.items() if since < late)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread; close the oldest ones if there are too many."""
        with self._changed:
            self._open[request] = time.monotonic()
            self._hang_up(islice(self._open, max(0, len(self._open) - _MAX_CONNECTIONS)))
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that has been served."""
        with self._changed:
            self._open.pop(request, None)
            self._changed.notify_all()
        super().shutdown_request(request)

    def cut(self, limit_s: float) -> None:
        """Shut down all connections, and wait until their threads have closed them."""
        with self._changed:
            self._hang_up(self._open)
            self._changed.wait_for(lambda: not self._open, limit_s)

    @staticmethod
    def _hang_up(connections: Iterable[socket.socket]) -> None:
        for one in connections:
            with contextlib.suppress(OSError):  # the client has closed it already
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log a failed request at debug level; usually the client has closed the connection."""
        log.debug("a request for metrics from %s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """The handler for GET and HEAD requests."""

    server: _Server
    timeout = _REQUEST_LIMIT_S
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send `/metrics`, `/health`, or 404."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, self.server.figures())
        elif path == "/health":
            health = self.server.health()
            body = json.dumps({"healthy": health.ok, "problems": health.problems}) + "\n"
            status = HTTPStatus.OK if health.ok else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, "application/json", body.encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there are /metrics and /health\n")

    do_HEAD = do_GET  # noqa: N815  the name that http.server looks for

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: the server does not log its requests."""
