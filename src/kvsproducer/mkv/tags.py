"""Tags elements for fragment metadata, events and the end of a fragment.

RFC 9559 section 5.1.8. The layout is that of AWS's producer: Tags { Tag { SimpleTag { TagName,
TagString } ... } }, with sizes of 8 bytes. Several pairs become several SimpleTags of one Tag.
Names have 1 to 128 bytes of UTF-8, values 0 to 256. The caller checks for reserved names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kvsproducer.limits import MAX_MKV_TAG_NAME_LEN, MAX_MKV_TAG_VALUE_LEN, MIN_MKV_TAG_NAME_LEN
from kvsproducer.mkv import elements as el
from kvsproducer.mkv.ebml import element, utf8
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.wire import TAG_END_OF_FRAGMENT

__all__ = ["end_of_fragment_tag", "tag_part", "tags"]

_SIZE_WIDTH: Final = 8
_LEVELS: Final = ("tags", "tag", "simple_tag")


def _simple_tag(name: str, value: str) -> bytes:
    """Make one SimpleTag; raises MKV_INVALID_TAG_NAME_LENGTH or MKV_INVALID_TAG_VALUE_LENGTH."""
    encoded_name, encoded_value = utf8(name), utf8(value)
    if not MIN_MKV_TAG_NAME_LEN <= len(encoded_name) <= MAX_MKV_TAG_NAME_LEN:
        raise kvs_error(
            StatusCode.MKV_INVALID_TAG_NAME_LENGTH,
            f"a tag name takes {len(encoded_name)} bytes, allowed are 1 to {MAX_MKV_TAG_NAME_LEN}",
        )
    if len(encoded_value) > MAX_MKV_TAG_VALUE_LEN:
        raise kvs_error(
            StatusCode.MKV_INVALID_TAG_VALUE_LENGTH,
            f"the value of tag {name!r} takes {len(encoded_value)} bytes, "
            f"allowed are up to {MAX_MKV_TAG_VALUE_LEN}",
        )
    return _wide(
        el.SIMPLE_TAG, _wide(el.TAG_NAME, encoded_name) + _wide(el.TAG_STRING, encoded_value)
    )


def _wide(element_id: int, payload: bytes) -> bytes:
    return element(element_id, payload, size_width=_SIZE_WIDTH)


def tags(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Make a Tags element with one Tag, which has a SimpleTag for each (name, value) pair.

    Raises MKV_INVALID_TAG_NAME_LENGTH or MKV_INVALID_TAG_VALUE_LENGTH.
    """
    simple = b"".join(_simple_tag(name, value) for name, value in pairs)
    return _wide(el.TAGS, _wide(el.TAG, simple))


def tag_part(level: str, name: str, value: str) -> bytes:
    """Make the element for one pair: whole "tags", or only the "tag" or "simple_tag" inside it.

    Raises what `tags` raises, and MKV_INVALID_PARENT_TYPE for another `level`.
    """
    if level not in _LEVELS:
        raise kvs_error(
            StatusCode.MKV_INVALID_PARENT_TYPE, f"no level {level!r}, there are {_LEVELS}"
        )
    part = _simple_tag(name, value)
    if level == "simple_tag":
        return part
    part = _wide(el.TAG, part)
    return part if level == "tag" else _wide(el.TAGS, part)


_END_OF_FRAGMENT: Final = tags([(TAG_END_OF_FRAGMENT, "")])


def end_of_fragment_tag() -> bytes:
    """Return the Tags element that makes the service close the fragment at once."""
    return _END_OF_FRAGMENT
