"""Every public argument that is a duration or an instant takes every form of one.

A duration is ticks, a `timedelta` or ISO 8601 text; an instant is ticks or an aware `datetime`. The
tables have one line for each such argument; a signature with one that is in no table fails.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from tests.endpoints import QUICK
from typer.testing import CliRunner

import kvsproducer as kvs
from kvsproducer.cli.app import app
from kvsproducer.endpoint import EndpointLimits, local_endpoint

SECOND = 10_000_000
TWO_HOURS = [7200 * SECOND, timedelta(hours=2), "PT2H"]
INSTANT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
INSTANTS = [17_673_230_450_000_000, INSTANT]
STREAM = ("retention", "max_latency", "fragment_duration", "buffer_duration", "replay_duration")
CLIENT = (
    "create_client_timeout",
    "create_stream_timeout",
    "stop_stream_timeout",
    "offline_buffer_availability_timeout",
    "metric_logging_period",
    "reserved_callback_period",
    "service_call_completion_timeout",
    "service_call_connection_timeout",
)
ENDPOINT = (
    "fragment_duration",
    "connection_duration",
    "idle_timeout",
    "idle_ack_interval",
    "get_media_idle",
    "future",
)
KINDS: list[tuple[Callable[..., Any], tuple[str, ...]]] = [
    (kvs.StreamInfo, (*STREAM, "connection_staleness_duration")),
    (kvs.ClientInfo, CLIENT),
    (kvs.ServiceConfig, ("caching_period",)),
    (EndpointLimits, ENDPOINT),
    (lambda **member: kvs.Frame(b"data", 0, **member), ("duration",)),
    (kvs.StreamInfo.video, STREAM),
    (lambda **member: kvs.StreamInfo.from_dict(member), STREAM),
    (lambda **member: kvs.ClientInfo.from_dict(member), CLIENT),
]
DURATIONS = [
    pytest.param(make, name, id=f"{number}-{name}")
    for number, (make, names) in enumerate(KINDS)
    for name in names
]
# Where the other arguments are given below; time-outs of calls that wait are seconds when plain.
ELSEWHERE = {
    "Frame": {"pts", "dts"},
    "Producer": {"close_timeout"},
    "AwsCredentials": {"expiration"},
    "IotCredentials": {"connection_timeout", "completion_timeout"},  # tests/service/credentials
    "put_media": {"retention", "start", "timeout"},
    "get_media": {"start"},
    "wait_ready": {"timeout"},
    "flush": {"timeout"},
    "close": {"timeout"},
}
NOT_GIVEN = {  # made by the package, for the user to read; ticks
    "PutResult", "StreamMetrics", "FragmentSummary", "ReadFragment", "ReadFrame", "StreamCallbacks",
}  # fmt: skip
TIME = re.compile(
    r"duration|timeout|retention|max_latency|period|expiration|^(start|end|pts|dts|interval|idle)$"
)


@pytest.mark.parametrize("value", TWO_HOURS, ids=str)
@pytest.mark.parametrize(("make", "name"), DURATIONS)
def test_durations(make: Callable[..., Any], name: str, value: object) -> None:
    """All forms mean the same ticks."""
    assert getattr(make(**{name: value}), name) == 7200 * SECOND


@pytest.mark.parametrize(("make", "name"), DURATIONS)
def test_what_is_no_duration(make: Callable[..., Any], name: str) -> None:
    """Bad text, a float whose unit would be open, and a negative one are refused at the door."""
    for value, status in (
        ("two hours", kvs.StatusCode.INVALID_DURATION_VALUE),
        (2.5, kvs.StatusCode.INVALID_ARG),
        (timedelta(seconds=-1), kvs.StatusCode.INVALID_ARG),
    ):
        with pytest.raises(kvs.KvsError) as caught:
            make(**{name: value})
        assert caught.value.status is status


@pytest.mark.parametrize(
    "structure", [kvs.StreamInfo, kvs.ClientInfo, kvs.ServiceConfig, EndpointLimits]
)
def test_type_checkers_are_told_of_every_form(structure: type) -> None:
    """A member that takes text may not be annotated as an int; `make check` reads examples/ so."""
    told = {field.name for field in fields(structure) if field.type == "DurationField"}
    assert told >= {field.name for field in fields(structure) if TIME.search(field.name)}
    assert told == {name for kind, names in KINDS if kind is structure for name in names}


@pytest.mark.parametrize("value", INSTANTS, ids=str)
def test_instants(value: Any) -> None:
    """Of a frame and of credentials; one without a zone is refused."""
    frame = kvs.Frame(b"data", value, dts=value)
    assert (frame.pts, frame.dts) == (INSTANTS[0], INSTANTS[0])
    assert kvs.Frame(b"data", value).dts == INSTANTS[0]
    assert kvs.AwsCredentials("key", "secret", expiration=value).expiration == INSTANTS[0]
    for action in (kvs.Frame, lambda _, naive: kvs.Frame(b"data", 0, dts=naive)):
        with pytest.raises(kvs.KvsError, match="no time zone"):
            action(b"data", INSTANT.replace(tzinfo=None))


def test_calls_that_wait_and_media_in_and_out() -> None:
    """`put_media`, `get_media`, `wait_ready`, `flush` and `close`, in each form."""
    with local_endpoint(limits=QUICK) as endpoint:
        with kvs.Producer(endpoint_url=endpoint.url) as producer:
            stream = producer.open_stream("door", kvs.StreamInfo.video("h264", nal_adaptation=0))
            for timeout in (60, 60.5, timedelta(minutes=1), "PT1M"):
                stream.wait_ready(timeout)
                stream.flush(timeout)
            for timeout in (60, timedelta(minutes=1), "PT1M"):
                stream.close(timeout)
                producer.close(timeout)
        clip = "testsrc:duration=1,size=64x64"
        forms = zip([None, *INSTANTS], TWO_HOURS, (60, timedelta(minutes=1), "PT1M"), strict=True)
        for number, (start, retention, timeout) in enumerate(forms):
            kvs.put_media(
                clip,
                f"clip-{number}",
                streaming_type=kvs.StreamingType.OFFLINE,
                start=start,
                retention=retention,
                timeout=timeout,
                endpoint_url=endpoint.url,
            )
        for start in INSTANTS:
            found = list(kvs.get_media("clip-1", start=start, endpoint_url=endpoint.url))
            assert len(found) == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--retention", "PT24H", "--timeout", "PT1M", "--start-time", "2026-01-02T03:04:05Z"),
        ("--retention", "24h", "--timeout", "60", "--start-time", "1767323045"),
        ("--retention", "1d", "--timeout", "1m"),
    ],
)
def test_options_of_put(endpoint_url: str, options: tuple[str, ...]) -> None:
    """ISO 8601, and what people type."""
    clip = ("put", "testsrc:duration=1,size=64x64", "door", "--mode", "offline", "--quiet")
    ran = CliRunner().invoke(app, [*clip, "--endpoint-url", endpoint_url, *options])
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize(
    "options",
    [("--start", "earliest", "--idle", "PT30S", "--duration", "PT30S"), ("--idle", "30")],
)
def test_options_of_get(endpoint_url: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    """The same for what is read back."""
    kvs.put_media("testsrc:duration=1,size=64x64", "door", endpoint_url=endpoint_url)
    output = str(tmp_path / "out.mkv")
    command = ("get", "door", "-o", output, "--max-fragments", "1", "--endpoint-url", endpoint_url)
    ran = CliRunner().invoke(app, [*command, *options])
    assert ran.exit_code == 0, ran.output


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """(name, function or class) of what users call: classes, their methods, functions."""
    for module in ("kvsproducer", "kvsproducer.aio", "kvsproducer.endpoint"):
        found = importlib.import_module(module)
        for name in found.__all__:
            value = getattr(found, name)
            if inspect.isclass(value) and not issubclass(value, tuple | BaseException | Enum):
                yield name, value
                yield from ((n, f) for n, f in vars(value).items() if inspect.isfunction(f))
            elif inspect.isfunction(value):
                yield name, value


def test_no_argument_is_forgotten() -> None:
    """Whatever has the name of a time is in a table above."""
    known = {(kind.__name__, name) for kind, names in KINDS[:4] for name in names}
    known |= {(kind, name) for kind, names in ELSEWHERE.items() for name in names}
    known.add(("Frame", "duration"))
    forgotten = {
        (where, name)
        for where, function in public_callables()
        if where not in NOT_GIVEN and not where.startswith("_")
        for name in inspect.signature(function).parameters
        if TIME.search(name) and (where, name) not in known
    }
    assert forgotten == set()
