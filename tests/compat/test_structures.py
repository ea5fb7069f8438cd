"""The sets of callbacks are plain records: every function is optional and named."""

from __future__ import annotations

import dataclasses

import pytest

import kvsproducer as kvs
from kvsproducer.compat.structures import CallbackSet

KINDS = (
    kvs.PlatformCallbacks,
    kvs.ProducerCallbacks,
    kvs.StreamCallbacks,
    kvs.AuthCallbacks,
    kvs.ApiCallbacks,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_function_is_optional_and_named(kind: type[CallbackSet]) -> None:
    """An empty set does nothing; functions are given by name; a set does not change."""
    empty = kind()
    values = {field.name: getattr(empty, field.name) for field in dataclasses.fields(empty)}
    assert values.pop("version") == 0
    assert set(values.values()) == {None}
    with pytest.raises(TypeError):
        kind(print)  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        empty.free = print  # type: ignore[misc]
