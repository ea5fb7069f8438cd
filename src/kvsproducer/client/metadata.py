"""Fragment metadata and events waiting to be written at the next fragment start.

Facts: AWS's client: at most 25 queued entries; persistent ones repeat in every fragment; names
must not begin with "AWS". Entries become MKV Tags elements; an event's pairs go into its own Tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from kvsproducer import limits
from kvsproducer.mkv.tags import tags
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.wire import (
    TAG_IMAGE_GENERATION,
    TAG_IMAGE_PREFIX,
    TAG_NOTIFICATION,
    TAG_RESERVED_PREFIX,
)

__all__ = ["EventType", "MetadataQueue"]

_S = StatusCode


class EventType(IntFlag):
    """What the service is asked to do with the fragment."""

    IMAGE_GENERATION = 1
    NOTIFICATION = 2


_EVENT_TAGS: Final = {
    EventType.IMAGE_GENERATION: TAG_IMAGE_GENERATION,
    EventType.NOTIFICATION: TAG_NOTIFICATION,
}


@dataclass(slots=True)
class _Entry:
    """One Tags element to write; `items` is its share of the queue's limit."""

    name: str
    element: bytes
    persistent: bool
    items: int = 1
    applied: bool = False


class MetadataQueue:
    """The queue of one stream."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def put(self, name: str, value: str, persistent: bool) -> None:
        """Queue a name and value; an empty value clears a persistent one.

        Raises INVALID_METADATA_NAME, MKV_INVALID_TAG_NAME_LENGTH, MKV_INVALID_TAG_VALUE_LENGTH,
        MAX_FRAGMENT_METADATA_COUNT.
        """
        _check_name(name)
        element = tags([(name, value)])
        if persistent:
            others = [e for e in self._entries if not (e.persistent and e.name == name)]
            known = len(others) < len(self._entries)
            self._entries = others
            if known and not value:
                return
        self._append(_Entry(name, element, persistent))

    def put_event(
        self, types: int, image_prefix: str = "", pairs: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Queue the events of `types` (`EventType` bits) with an image prefix and extra pairs.

        Raises INVALID_ARG, INVALID_IMAGE_PREFIX_LENGTH, INVALID_IMAGE_METADATA_KEY_LENGTH,
        INVALID_IMAGE_METADATA_VALUE_LENGTH, INVALID_METADATA_NAME, DUPLICATE_STREAM_EVENT_TYPE,
        MAX_FRAGMENT_METADATA_COUNT; then nothing is queued.
        """
        wanted = [kind for kind in EventType if types & kind]
        if not wanted or types & ~sum(EventType):
            raise kvs_error(_S.INVALID_ARG, f"event types {types:#x}")
        _check_event(image_prefix, pairs)
        names = [_EVENT_TAGS[kind] for kind in wanted]
        for name in names:
            if any(entry.name == name for entry in self._entries):
                raise kvs_error(_S.DUPLICATE_STREAM_EVENT_TYPE, f"{name} is still queued")
        entries = []
        for kind, name in zip(wanted, names, strict=True):
            members = [(name, "")]
            if kind is EventType.IMAGE_GENERATION and image_prefix:
                members.append((TAG_IMAGE_PREFIX, image_prefix))
            members.extend(pairs)
            entries.append(_Entry(name, tags(members), persistent=False, items=len(members)))
        self._append(*entries)

    def _append(self, *entries: _Entry) -> None:
        count = sum(entry.items for entry in (*self._entries, *entries))
        if count > limits.MAX_FRAGMENT_METADATA_COUNT:
            raise kvs_error(
                _S.MAX_FRAGMENT_METADATA_COUNT,
                f"{count} items, at most {limits.MAX_FRAGMENT_METADATA_COUNT}",
            )
        self._entries.extend(entries)

    def pending(self, *, only_new: bool) -> bytes:
        """The Tags elements to write now; `only_new` leaves out what earlier fragments had."""
        return b"".join(e.element for e in self._entries if not (only_new and e.applied))

    def written(self) -> None:
        """The pending elements were written: persistent ones stay, the others are done."""
        self._entries = [entry for entry in self._entries if entry.persistent]
        for entry in self._entries:
            entry.applied = True

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


def _check_name(name: str) -> None:
    if name.startswith(TAG_RESERVED_PREFIX):
        raise kvs_error(
            _S.INVALID_METADATA_NAME, f"{name[:32]!r}: names that begin with AWS are reserved"
        )


def _check_event(image_prefix: str, pairs: Sequence[tuple[str, str]]) -> None:
    _check_name(image_prefix)
    if len(image_prefix) > limits.MAX_IMAGE_PREFIX_LEN:
        raise kvs_error(_S.INVALID_IMAGE_PREFIX_LENGTH, f"{len(image_prefix)} characters")
    if len(pairs) > limits.MAX_EVENT_PAIRS:
        raise kvs_error(_S.INVALID_ARG, f"{len(pairs)} pairs, at most {limits.MAX_EVENT_PAIRS}")
    for name, value in pairs:
        _check_name(name)
        if not 0 < len(name) <= limits.MAX_MKV_TAG_NAME_LEN:
            raise kvs_error(_S.INVALID_IMAGE_METADATA_KEY_LENGTH, f"{len(name)} characters")
        if len(value) > limits.MAX_MKV_TAG_VALUE_LEN:
            raise kvs_error(_S.INVALID_IMAGE_METADATA_VALUE_LENGTH, f"{len(value)} characters")
