"""JSON requests: every value is either accepted or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsproducer.endpoint.errors import ServiceError
from kvsproducer.endpoint.members import Members, next_token, parse_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(derandomize=True)
@given(value=JSON)
def test_any_value_is_accepted_or_refused(value: Any) -> None:
    """A value of any type is accepted or raises InvalidArgumentException, nothing else."""
    members = Members({name: value for name in ("StreamName", "Tags", "X", "NextToken", "TagKey")})
    for look in (
        lambda: members.text("StreamName"),
        lambda: members.required_text("TagKey"),
        lambda: members.integer("X", 1, 10),
        lambda: members.instant("X"),
        lambda: members.object("X"),
        lambda: members.tags("Tags", 1, 5),
        lambda: members.texts("X", "TagKey", 5),
        lambda: members.choice("X", ("a", "b")),
        members.position,
    ):
        try:
            look()
        except ServiceError as error:
            assert error.name == "InvalidArgumentException"  # noqa: PT017


@settings(derandomize=True)
@given(body=st.binary(max_size=60))
def test_any_body_is_an_object_or_refused(body: bytes) -> None:
    try:
        parse_json(body)
    except ServiceError as error:
        assert error.name == "SerializationException"  # noqa: PT017


def test_an_empty_body_is_an_empty_object() -> None:
    assert "StreamName" not in parse_json(b"")


@settings(derandomize=True)
@given(position=st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_next_token_decodes_to_its_position(position: str) -> None:
    assert Members({"NextToken": next_token(position)}).position() == position


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [(0, 0), (1_700_000_000, 17_000_000_000_000_000), (1.7054898364210e9, 17_054_898_364_210_000)],
)
def test_instants_are_exact_to_the_microsecond(seconds: float, ticks: int) -> None:
    body = json.dumps({"At": seconds}).encode()
    assert parse_json(body).instant("At") == ticks


ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1"


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"StreamName": "door"}, "door"),
        (
            {"StreamARN": "arn:aws:kinesisvideo:x:1:stream/door/1"},
            "arn:aws:kinesisvideo:x:1:stream/door/1",
        ),
        ({"StreamName": "two\nlines"}, "-"),
        ({"StreamName": 5}, "-"),
        ({}, "-"),
    ],
)
def test_label_names_the_stream_of_a_request(values: dict[str, Any], label: str) -> None:
    assert Members(values).label == label
