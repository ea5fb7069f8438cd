"""Tests of Tags elements: bytes, limits, and parsing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvsproducer.mkv import end_of_fragment_tag, tags
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.tags import tag_part
from kvsproducer.status import InvalidConfiguration, InvalidFrame, StatusCode


def test_every_size_takes_eight_bytes() -> None:
    """The layout is AWS's: Tags { Tag { SimpleTag { TagName "n", TagString "v" } } }."""
    name = "45a301000000000000016e"
    value = "448701000000000000" + "0176"
    simple = "67c801000000000000" + "16" + name + value
    tag = "737301000000000000" + "20" + simple
    assert tags([("n", "v")]).hex() == "1254c36701000000000000" + "2a" + tag


def test_several_pairs_share_one_tag(
    parse: Callable[[list[bytes]], list[ev.Event]], document: Callable[..., bytes]
) -> None:
    """The pairs of an event are SimpleTags of the same Tag."""
    pairs = [("AWS_KINESISVIDEO_NOTIFICATION", ""), ("door", "öffnen")]
    element = tags(pairs)
    assert element.count(bytes.fromhex("7373")) == 1
    events = parse([document(element)])
    assert [event.pairs for event in events if isinstance(event, ev.Tags)] == [pairs]


def test_the_parts_of_a_tag_nest() -> None:
    """A Tag is inside the Tags, a SimpleTag inside the Tag."""
    whole, tag, simple = (tag_part(level, "n", "v") for level in ("tags", "tag", "simple_tag"))
    assert whole == tags([("n", "v")])
    assert whole.endswith(tag)
    assert tag.endswith(simple)
    assert len(whole) - len(tag) == 4 + 8
    assert len(tag) - len(simple) == 2 + 8


def test_the_end_of_fragment_tag_has_an_empty_value() -> None:
    assert end_of_fragment_tag() == tags([("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")])


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("", "v", StatusCode.MKV_INVALID_TAG_NAME_LENGTH),
        ("n" * 129, "v", StatusCode.MKV_INVALID_TAG_NAME_LENGTH),
        ("é" * 65, "v", StatusCode.MKV_INVALID_TAG_NAME_LENGTH),
        ("n", "v" * 257, StatusCode.MKV_INVALID_TAG_VALUE_LENGTH),
    ],
)
def test_lengths_are_limited_in_bytes(name: str, value: str, status: StatusCode) -> None:
    with pytest.raises(InvalidFrame) as caught:
        tags([(name, value)])
    assert caught.value.status is status


def test_the_longest_name_and_value_fit() -> None:
    assert len(tags([("n" * 128, "v" * 256)])) == 12 + 10 + 10 + 10 + 128 + 10 + 256


def test_unknown_levels_are_refused() -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        tag_part("targets", "n", "v")
    assert caught.value.status is StatusCode.MKV_INVALID_PARENT_TYPE
