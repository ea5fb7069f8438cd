"""`Connection` and its fields as keywords of all functions that use the service."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest

import kvsproducer as kvs
from kvsproducer import aio
from kvsproducer.service import connection as module
from kvsproducer.service.connection import Connection, ConnectionOptions, connection_from
from kvsproducer.sources import open_source

PATTERN = "testsrc:duration=1,size=64x48,rate=25,gop=10"
KEYS = kvs.AwsCredentials("AKIDEXAMPLE", "a-secret-key", "a-secret-token")


def call(name: str, **options: Any) -> object:
    """Call the function of that name, so that it checks its arguments."""
    if name == "Producer":
        return kvs.Producer(**options)
    if name == "aio.Producer":

        async def make() -> object:
            return aio.Producer(**options)

        return asyncio.run(make())
    if name == "aio.get_media":
        return aio.get_media("door", **options)
    if name == "aio.list_fragments":
        return asyncio.run(aio.list_fragments("door", **options))
    if name == "aio.put_media":
        return asyncio.run(aio.put_media(PATTERN, "door", **options))
    if name == "put_media":
        return kvs.put_media(PATTERN, "door", **options)
    return getattr(kvs, name)("door", **options)


SURFACES = (
    "Producer",
    "aio.Producer",
    "aio.get_media",
    "aio.list_fragments",
    "aio.put_media",
    "get_media",
    "list_fragments",
    "put_media",
)


def refused(name: str, **options: Any) -> str:
    with pytest.raises(kvs.KvsError) as caught:
        call(name, **options)
    assert caught.value.status is kvs.StatusCode.INVALID_ARG
    return caught.value.detail


def test_keywords_are_the_fields_of_a_connection() -> None:
    """They have the same types and order."""
    named = {one.name: one.type for one in fields(Connection)}
    shorthand = {
        name: inspect.get_annotations(ConnectionOptions)[name].__forward_arg__ for name in named
    }
    assert shorthand == named
    assert list(ConnectionOptions.__annotations__) == list(named)


@pytest.mark.parametrize("name", SURFACES)
def test_every_surface_takes_either(name: str) -> None:
    """`connection=` together with one of its fields is refused."""
    said = refused(name, connection=Connection(), endpoint_url="http://127.0.0.1:9", verify=False)
    assert "got both connection= and endpoint_url=, verify=" in said
    assert "leave connection= out" in said
    assert "connection= is str" in refused(name, connection="http://127.0.0.1:9")


@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("region", "region_name="),
        ("endpont_url", "endpoint_url="),
        ("aws_access_key_id", "credentials=AwsCredentials(...)"),
        ("verfy", "verify="),
    ],
)
def test_unknown_names_are_refused_with_a_guess(name: str, wrong: str, advice: str) -> None:
    said = refused(name, **{wrong: "x"})
    assert said == f"{name.rpartition('.')[2]}() has no argument {wrong}=; did you mean {advice}?"


@pytest.mark.parametrize(
    ("name", "wrong", "advice"),
    [
        ("put_media", "retension", "retention="),
        ("aio.put_media", "metrics_prt", "metrics_port="),
        ("Producer", "on_events", "on_event="),
        ("get_media", "strat", "start="),
        ("list_fragments", "beetween", "between="),
    ],
)
def test_names_of_the_function_itself_are_guessed_too(name: str, wrong: str, advice: str) -> None:
    assert f"did you mean {advice}?" in refused(name, **{wrong: "x"})


def test_unknown_name_without_a_similar_one_lists_all_names() -> None:
    said = refused("list_fragments", zzz=1)
    assert "between, config, connection, credentials, endpoint_url, profile_name" in said


def test_keyword_with_the_value_none_is_ignored() -> None:
    """Wrapper functions pass None for arguments that they did not get."""
    given = Connection(region_name="eu-west-1")
    assert connection_from(given, {"profile_name": None}, kvs.get_media) is given
    assert connection_from(None, {"region_name": None}, kvs.get_media).region_name is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"region_name": 1}, "region_name= is int"),
        ({"profile_name": b"x"}, "profile_name= is bytes"),
        ({"endpoint_url": "127.0.0.1:8080"}, "does not begin with http://"),
        ({"endpoint_url": Path("x")}, "endpoint_url="),
        ({"endpoint_url": "https://user:secret@host"}, "it holds a user name"),
        ({"session": "default"}, "session= is str: give a botocore or boto3 session"),
        ({"credentials": "key"}, "credentials= is str"),
        ({"verify": 1.5}, "verify= is float"),
        ({"config": {"proxies": {}}}, "config= is dict: give kvsproducer.ServiceConfig"),
    ],
)
def test_wrong_values_are_refused_when_the_connection_is_made(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(kvs.KvsError) as caught:
        Connection(**options)
    assert caught.value.status is kvs.StatusCode.INVALID_ARG
    assert said in caught.value.detail
    assert "secret" not in str(caught.value)


def test_a_session_has_its_own_profile() -> None:
    with pytest.raises(kvs.KvsError, match="make the session with the profile"):
        Connection(session=botocore.session.Session(), profile_name="cameras")


@pytest.mark.parametrize("make", [boto3.Session, botocore.session.Session])
def test_sessions_of_both_libraries_are_taken(make: Callable[[], Any]) -> None:
    assert Connection(session=make()).session is not None


def test_creating_a_connection_reads_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither files nor credentials are read; the producer that uses it reports problems."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    asked: list[int] = []

    def keys() -> kvs.AwsCredentials:
        asked.append(1)
        return KEYS

    found = Connection(profile_name="missing", credentials=keys, verify="/no/such/bundle.pem")
    assert not asked
    with pytest.raises(kvs.KvsError, match="missing"):
        kvs.Producer(connection=found)


def test_repr_shows_what_was_given_and_no_secret() -> None:
    config = kvs.ServiceConfig(proxies={"https": "http://user:hidden@proxy:3128"})
    found = Connection(
        region_name="us-west-2",
        endpoint_url="http://127.0.0.1:8080",
        credentials=KEYS,
        session=None,
        verify=False,
        config=config,
    )
    text = repr(found)
    assert text.startswith("Connection(region_name='us-west-2', endpoint_url='http://127.0.0.1:80")
    assert "credentials=<AwsCredentials>" in text
    assert "verify=False" in text
    assert not any(secret in text for secret in ("hidden", "a-secret-key", "a-secret-token"))
    assert repr(Connection()) == "Connection()"


def test_it_can_be_pickled_and_does_not_change() -> None:
    found = Connection(region_name="us-west-2", credentials=KEYS, config=kvs.ServiceConfig())
    copy = pickle.loads(pickle.dumps(found))
    assert (copy.region_name, copy.credentials) == ("us-west-2", KEYS)
    with pytest.raises(AttributeError):
        found.region_name = "eu-west-1"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        found.region = "eu-west-1"  # type: ignore[attr-defined]


def test_one_connection_serves_many(quick_url: str) -> None:
    """Producers and readers in several threads, blocking and asyncio, share it."""
    shared = Connection(endpoint_url=quick_url, session=boto3.Session(), credentials=KEYS)

    def put(number: int) -> list[int]:
        name = f"door-{number}"
        result = kvs.put_media(PATTERN, name, streaming_type=OFFLINE, connection=shared)
        frames = [len(one.frames) for one in kvs.get_media(name, connection=shared)]
        assert len(kvs.list_fragments(name, connection=shared)) == result.fragments
        return [result.frames, sum(frames)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(put, range(4))) == [[25, 25]] * 4

    async def in_asyncio() -> int:
        await aio.put_media(PATTERN, "yard", streaming_type=OFFLINE, connection=shared)
        async with aio.Producer(connection=shared):
            assert len(await aio.list_fragments("yard", connection=shared)) == 1
        return sum([len(one.frames) async for one in aio.get_media("yard", connection=shared)])

    assert asyncio.run(in_asyncio()) == 25


OFFLINE = kvs.StreamingType.OFFLINE


def test_a_producer_of_the_caller_has_its_own_connection(quick_url: str) -> None:
    """Arguments for creating a producer are refused together with `producer=`."""
    with kvs.Producer(endpoint_url=quick_url) as producer:
        said = refused("put_media", producer=producer, region_name="us-west-2")
        assert "got both producer= and region_name=" in said
        said = refused("put_media", producer=producer, connection=Connection())
        assert "got both producer= and connection=" in said
        said = refused("put_media", producer=producer, device_info=kvs.DeviceInfo())
        assert "device_info=" in said
        source = open_source(PATTERN)
        assert kvs.put_media(source, "x", producer=producer, streaming_type=OFFLINE).frames == 25
    assert "producer= is str" in refused("put_media", producer="mine")


def test_public_name() -> None:
    assert kvs.Connection is module.Connection
