"""The sets of callbacks are plain records with optional, named functions."""

from __future__ import annotations

import dataclasses

import pytest

import kvsproducer as kvs
from kvsproducer import client as core
from kvsproducer.compat import stream_description
from kvsproducer.compat.structures import CallbackSet
from kvsproducer.status import KvsError, StatusCode

KINDS = (
    kvs.PlatformCallbacks,
    kvs.ProducerCallbacks,
    kvs.StreamCallbacks,
    kvs.AuthCallbacks,
    kvs.ApiCallbacks,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_function_is_optional_and_named(kind: type[CallbackSet]) -> None:
    """An empty set has no effect, functions are keyword arguments, and a set is immutable."""
    empty = kind()
    values = {field.name: getattr(empty, field.name) for field in dataclasses.fields(empty)}
    assert values.pop("version") == 0
    assert set(values.values()) == {None}
    with pytest.raises(TypeError):
        kind(print)  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        empty.free = print  # type: ignore[misc]


def test_stream_description_from_data() -> None:
    """The status is a name in any case, a number or a StreamStatus. Version 0 has fewer members."""
    data: dict[str, object] = {"stream_arn": "arn", "retention": 5, "kms_key_id": "key"}
    for status in ("deleting", "DELETING", 3, core.StreamStatus.DELETING):
        described = stream_description({**data, "status": status})
        assert described.status is core.StreamStatus.DELETING
        assert (described.stream_arn, described.retention) == ("arn", 5)
    old = stream_description({"version": 0, "stream_arn": "arn"})
    assert (old.status, old.retention) == (core.StreamStatus.ACTIVE, None)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"version": 2, "stream_arn": ""}, StatusCode.INVALID_STREAM_DESCRIPTION_VERSION),
        ({"version": 0, "stream_arn": "", "retention": 1}, StatusCode.INVALID_ARG),
        ({"stream_arn": "", "status": "asleep"}, StatusCode.INVALID_ARG),
        ({"stream_arn": "", "status": 4}, StatusCode.INVALID_ARG),
        ({"stream_arn": "", "colour": "red"}, StatusCode.INVALID_ARG),
        ({}, StatusCode.INVALID_ARG),
    ],
)
def test_invalid_descriptions_have_their_status(
    data: dict[str, object], status: StatusCode
) -> None:
    """Unknown versions, members and values, and a missing ARN."""
    with pytest.raises(KvsError) as caught:
        stream_description(data)
    assert caught.value.status is status
