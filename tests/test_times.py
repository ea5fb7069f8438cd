"""Every public argument that is a duration or an instant accepts all forms of it.

A length of time is seconds, a `timedelta` or ISO 8601 text, and is read as a `timedelta`. An
instant is ticks or an aware `datetime`. The tables have one line for each such argument; a test
fails if an argument is missing from the tables.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
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
TWO_HOURS = [7200, 7200.0, timedelta(hours=2), "PT2H"]
INSTANT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
INSTANTS = [17_673_230_450_000_000, INSTANT]
STREAM = ("retention", "max_latency", "fragment_duration", "buffer_duration", "replay_duration")
CLIENT = (
    "stop_stream_timeout",
    "offline_buffer_availability_timeout",
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
    (kvs.StreamInfo.video, STREAM),
    (kvs.StreamInfo.audio, STREAM),
    (kvs.StreamInfo.audio_video, STREAM),
]
# In AWS's layout numbers are ticks.
DATA: list[tuple[Callable[..., Any], str]] = [
    *((kvs.StreamInfo.from_dict, name) for name in STREAM),
    *((kvs.ClientInfo.from_dict, name) for name in CLIENT),
]
DURATIONS = [
    pytest.param(make, name, id=f"{number}-{name}")
    for number, (make, names) in enumerate(KINDS)
    for name in names
]
# Where the other arguments are given below; time-outs of calls that wait are seconds when plain.
ELSEWHERE = {
    "Frame": {"pts", "dts", "duration"},
    "Producer": {"close_timeout"},
    "AwsCredentials": {"expiration"},
    "IotCredentials": {"connection_timeout", "completion_timeout"},  # tests/service/credentials
    "put_media": {"retention", "start", "timeout"},
    "get_media": {"start"},
    "wait_ready": {"timeout"},
    "wait_stored": {"pts", "timeout"},
    "flush": {"timeout"},
    "close": {"timeout"},
}
NOT_GIVEN = {  # results that the package makes; ticks
    "PutResult", "StreamMetrics", "FragmentSummary", "ReadFragment", "ReadFrame", "StreamCallbacks",
}  # fmt: skip
NOT_CALLED = (tuple, BaseException, Enum, kvs.Event)  # the package makes these, too
TIME = re.compile(
    r"duration|timeout|retention|max_latency|period|expiration|^(start|end|pts|dts|interval|idle)$"
)


@pytest.mark.parametrize("value", TWO_HOURS, ids=str)
@pytest.mark.parametrize(("make", "name"), DURATIONS)
def test_durations(make: Callable[..., Any], name: str, value: object) -> None:
    """All forms mean the same, and reading the value returns a timedelta."""
    made = make(**{name: value})
    assert getattr(made, name) == timedelta(hours=2)
    assert pickle.loads(pickle.dumps(made)) == made
    assert replace(made, **{name: getattr(made, name)}) == made


@pytest.mark.parametrize("value", [7200 * SECOND, timedelta(hours=2), "PT2H"], ids=str)
@pytest.mark.parametrize(("read", "name"), DATA)
def test_durations_of_data(read: Callable[..., Any], name: str, value: object) -> None:
    """A number in a configuration file with AWS's layout is in ticks."""
    assert getattr(read({name: value}), name) == timedelta(hours=2)


def test_media_times_are_ticks() -> None:
    """A frame's times and duration are ticks; its duration may be a `timedelta` or text."""
    for value in (400_000, timedelta(milliseconds=40), "PT0.04S"):
        frame = kvs.Frame(b"data", 0, duration=value, lead=value)
        assert (frame.duration, frame.lead) == (400_000, 400_000)


@pytest.mark.parametrize(("make", "name"), DURATIONS)
def test_invalid_durations(make: Callable[..., Any], name: str) -> None:
    """Bad text, negative lengths and ticks are refused with the name of the option."""
    for value, status in (
        ("two hours", kvs.StatusCode.INVALID_DURATION_VALUE),
        (timedelta(seconds=-1), kvs.StatusCode.INVALID_ARG),
        (-1, kvs.StatusCode.INVALID_ARG),
        (float("nan"), kvs.StatusCode.INVALID_ARG),
        (True, kvs.StatusCode.INVALID_ARG),
        (None, kvs.StatusCode.INVALID_ARG),
        (24 * 3600 * SECOND, kvs.StatusCode.INVALID_ARG),
    ):
        with pytest.raises(kvs.KvsError, match=name) as caught:
            make(**{name: value})
        assert caught.value.status is status


@pytest.mark.parametrize(
    "structure", [kvs.StreamInfo, kvs.ClientInfo, kvs.ServiceConfig, EndpointLimits]
)
def test_annotations_include_every_form(structure: type) -> None:
    """A member that accepts text is not annotated as an int, so type checkers accept text."""
    annotated = {field.name for field in fields(structure) if field.type == "DurationField"}
    assert annotated >= {field.name for field in fields(structure) if TIME.search(field.name)}
    assert annotated == {name for kind, names in KINDS if kind is structure for name in names}


@pytest.mark.parametrize("value", INSTANTS, ids=str)
def test_instants(value: Any) -> None:
    """Frames and credentials accept all forms of an instant; one without a zone is refused."""
    frame = kvs.Frame(b"data", value, dts=value)
    assert (frame.pts, frame.dts) == (INSTANTS[0], INSTANTS[0])
    assert kvs.Frame(b"data", value).dts == INSTANTS[0]
    assert kvs.AwsCredentials("key", "secret", expiration=value).expiration == INSTANTS[0]
    for action in (kvs.Frame, lambda _, naive: kvs.Frame(b"data", 0, dts=naive)):
        with pytest.raises(kvs.KvsError, match="no time zone"):
            action(b"data", INSTANT.replace(tzinfo=None))


def test_calls_that_wait_and_media_in_and_out() -> None:
    """Calls that wait, `put_media` and `get_media` accept each form of their times."""
    with local_endpoint(limits=QUICK) as endpoint:
        with kvs.Producer(endpoint_url=endpoint.url) as producer:
            stream = producer.open_stream("door", kvs.StreamInfo.video("h264", nal_adaptation=0))
            stream.put_frame(kvs.Frame(b"data", INSTANT, key_frame=True))
            for timeout in (60, 60.5, timedelta(minutes=1), "PT1M"):
                stream.wait_ready(timeout)
                stream.flush(timeout)
                for pts in INSTANTS:
                    stream.wait_stored(pts, timeout)
            for timeout in (60, timedelta(minutes=1), "PT1M"):
                stream.close(timeout)
                producer.close(timeout)
        clip = "testsrc:duration=1,size=64x64"
        forms = zip(
            [None, *INSTANTS], TWO_HOURS[1:], (60, timedelta(minutes=1), "PT1M"), strict=True
        )
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
    """`kvs put` accepts ISO 8601 and short forms such as 24h."""
    clip = ("put", "testsrc:duration=1,size=64x64", "door", "--mode", "offline", "--quiet")
    ran = CliRunner().invoke(app, [*clip, "--endpoint-url", endpoint_url, *options])
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize(
    "options",
    [("--start", "earliest", "--idle", "PT30S", "--duration", "PT30S"), ("--idle", "30")],
)
def test_options_of_get(endpoint_url: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    """`kvs get` accepts ISO 8601 and short forms, too."""
    kvs.put_media("testsrc:duration=1,size=64x64", "door", endpoint_url=endpoint_url)
    output = str(tmp_path / "out.mkv")
    command = ("get", "door", "-o", output, "--max-fragments", "1", "--endpoint-url", endpoint_url)
    ran = CliRunner().invoke(app, [*command, *options])
    assert ran.exit_code == 0, ran.output


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the name and object of each public class, method and function."""
    for module in ("kvsproducer", "kvsproducer.aio", "kvsproducer.endpoint"):
        found = importlib.import_module(module)
        for name in found.__all__:
            value = getattr(found, name)
            if inspect.isclass(value) and not issubclass(value, NOT_CALLED):
                yield name, value
                yield from ((n, f) for n, f in vars(value).items() if inspect.isfunction(f))
            elif inspect.isfunction(value):
                yield name, value


def test_tables_contain_all_time_arguments() -> None:
    """Each argument whose name looks like a time is in a table above."""
    known = {(kind.__name__, name) for kind, names in KINDS for name in names}
    known |= {(kind, name) for kind, names in ELSEWHERE.items() for name in names}
    forgotten = {
        (where, name)
        for where, function in public_callables()
        if where not in NOT_GIVEN and not where.startswith("_")
        for name in inspect.signature(function).parameters
        if TIME.search(name) and (where, name) not in known
    }
    assert forgotten == set()
