"""The queue of fragment metadata and events, which are written with a fragment.

Source: the service accepts 10 items in a fragment. With an 11th item, it refuses the whole fragment
(ack 4009). The tags of events and their pairs count, the end-of-fragment tag does not. Persistent
items repeat in every fragment. Names must not begin with "AWS". Entries become MKV Tags elements;
the pairs of an event go into the event's own Tag. AWS's client queues up to 25 items, and the
service then refuses the fragment.

Items for the next fragment are written when it starts. The open fragment may be ended by a mark or
by the end of the stream. Then it also gets the items that were put since it started, up to the
limit of 10. The other items wait for the next fragment. So the limit is checked twice for each
item. When the item is put, it is checked for the queue. When the open fragment ends, it is checked
for this fragment.

Items for the open fragment ("this") can only be written behind its frames, with a mark. The mark is
put when the application ends the fragment, or else just before the frame that starts the next one.
Such items count for the open fragment. If this fragment is dropped, they are dropped with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from kvsproducer import limits
from kvsproducer.mkv.tags import tags
from kvsproducer.status import InvalidFrame, StatusCode, kvs_error
from kvsproducer.wire import (
    TAG_IMAGE_GENERATION,
    TAG_IMAGE_PREFIX,
    TAG_NOTIFICATION,
    TAG_RESERVED_PREFIX,
)

__all__ = ["EventType", "MetadataQueue"]

_S = StatusCode


class EventType(IntFlag):
    """What the service does when it gets the fragment: generate images, or send a notification."""

    IMAGE_GENERATION = 1
    NOTIFICATION = 2


_EVENT_TAGS: Final = {
    EventType.IMAGE_GENERATION: TAG_IMAGE_GENERATION,
    EventType.NOTIFICATION: TAG_NOTIFICATION,
}


@dataclass(slots=True)
class _Entry:
    """One Tags element to write, which the service counts as `items` metadata items."""

    name: str
    element: bytes
    persistent: bool
    items: int = 1
    applied: bool = False


class MetadataQueue:
    """The metadata queue of one stream."""

    __slots__ = ("_entries", "_late", "_taken")

    def __init__(self) -> None:
        self._entries: list[_Entry] = []  # for the next fragment
        self._late: list[_Entry] = []  # for the open fragment
        self._taken = 0  # number of items in the open fragment

    def __bool__(self) -> bool:
        return bool(self._entries or self._late)

    def put(self, name: str, value: str, persistent: bool, *, this: bool = False) -> None:
        """Queue a name and value; an empty value clears a persistent item.

        If `this` is true, the item is written with the open fragment instead of the next one. The
        caller must make sure that a fragment is open.

        Raises INVALID_ARG for an argument that is not text, INVALID_METADATA_NAME,
        MKV_INVALID_TAG_NAME_LENGTH, MKV_INVALID_TAG_VALUE_LENGTH, MAX_FRAGMENT_METADATA_COUNT. When
        it raises, nothing changes.
        """
        _check_text("the name of a metadata item", name)
        _check_text("the value of a metadata item", value)
        _check_name(name)
        if this:
            self._add_late([_Entry(name, tags([(name, value)]), persistent=False)])
            return
        others, known = self._entries, False
        if persistent:
            others = [e for e in self._entries if not (e.persistent and e.name == name)]
            known = len(others) < len(self._entries)
            if known and not value:
                self._entries = others
                return
        self._check_count(others, 1, f"metadata item {name[:32]!r}")
        entry = _Entry(name, tags([(name, value)]), persistent)
        self._entries = [*others, entry]

    def put_event(
        self,
        types: int,
        image_prefix: str = "",
        pairs: Sequence[tuple[str, str]] = (),
        *,
        this: bool = False,
    ) -> None:
        """Queue the events of `types` (`EventType` bits) with an image prefix and extra pairs.

        If `this` is true, the events are written with the open fragment instead of the next one.
        The caller must make sure that a fragment is open.

        Raises INVALID_ARG, INVALID_IMAGE_PREFIX_LENGTH, INVALID_IMAGE_METADATA_KEY_LENGTH,
        INVALID_IMAGE_METADATA_VALUE_LENGTH, INVALID_METADATA_NAME, DUPLICATE_STREAM_EVENT_TYPE,
        MAX_FRAGMENT_METADATA_COUNT. When it raises, nothing is queued.
        """
        if not isinstance(types, int):
            raise InvalidFrame(
                _S.INVALID_ARG, f"the event types are {types!r}; give EventType values"
            )
        wanted = [kind for kind in EventType if types & kind]
        if not wanted or types & ~sum(EventType):
            raise InvalidFrame(
                _S.INVALID_ARG, f"the event types are {types:#x}; give EventType values"
            )
        pairs = _checked_pairs(image_prefix, pairs)
        names = [_EVENT_TAGS[kind] for kind in wanted]
        for name in names:
            if any(entry.name == name for entry in (self._late if this else self._entries)):
                raise kvs_error(
                    _S.DUPLICATE_STREAM_EVENT_TYPE,
                    f"an event {name} waits for the {'open' if this else 'next'} fragment already; "
                    "a fragment takes one of each type",
                )
        entries = []
        for kind, name in zip(wanted, names, strict=True):
            members = [(name, "")]
            if kind is EventType.IMAGE_GENERATION and image_prefix:
                members.append((TAG_IMAGE_PREFIX, image_prefix))
            members.extend(pairs)
            entries.append(_Entry(name, tags(members), persistent=False, items=len(members)))
        if this:
            self._add_late(entries)
            return
        added = sum(entry.items for entry in entries)
        self._check_count(self._entries, added, f"an event of {added} tags")
        self._entries.extend(entries)

    def _add_late(self, entries: list[_Entry]) -> None:
        """Queue entries for the open fragment, or raise MAX_FRAGMENT_METADATA_COUNT."""
        has = self._taken + sum(entry.items for entry in self._late)
        added = sum(entry.items for entry in entries)
        if has + added > limits.SERVICE_MAX_FRAGMENT_METADATA:
            raise kvs_error(
                _S.MAX_FRAGMENT_METADATA_COUNT,
                f"metadata item {entries[0].name[:32]!r} does not fit into this fragment: it has"
                f" {has} items, {added} would be added, and KVS takes"
                f" {limits.SERVICE_MAX_FRAGMENT_METADATA} a fragment",
            )
        self._late += entries

    @staticmethod
    def _check_count(entries: list[_Entry], added: int, what: str) -> None:
        waiting = sum(entry.items for entry in entries)
        if waiting + added <= limits.SERVICE_MAX_FRAGMENT_METADATA:
            return
        persistent = sum(entry.items for entry in entries if entry.persistent)
        raise kvs_error(
            _S.MAX_FRAGMENT_METADATA_COUNT,
            f"{what} does not fit into the next fragment: {waiting} items wait for it, {persistent}"
            f" of them persistent, and KVS takes {limits.SERVICE_MAX_FRAGMENT_METADATA} a fragment",
        )

    def at_start(self) -> bytes:
        """Return the Tags elements to write at the start of a new fragment."""
        return b"".join(entry.element for entry in self._entries)

    def note_start(self) -> None:
        """Record that the elements of `at_start` were written; only persistent ones stay queued."""
        self._taken = sum(entry.items for entry in self._entries)
        self._entries = [entry for entry in self._entries if entry.persistent]
        for entry in self._entries:
            entry.applied = True

    def at_end(self) -> bytes:
        """Return the Tags elements to write with the mark that ends the open fragment."""
        return self.late() + b"".join(entry.element for entry in self._fitting())

    def late(self) -> bytes:
        """Return the Tags elements for "this", which no other fragment can take."""
        return b"".join(entry.element for entry in self._late)

    def note_late(self) -> None:
        """Record that the elements of `late` were written, or were dropped with their fragment."""
        self._late = []

    def note_end(self) -> None:
        """Record that the elements of `at_end` were written."""
        fitting = self._fitting()
        self.note_late()
        for entry in fitting:
            self._taken += entry.items
            entry.applied = True
        self._entries = [e for e in self._entries if e.persistent or not e.applied]

    def _fitting(self) -> list[_Entry]:
        """Return the queued entries that still fit into the open fragment, in order."""
        taken, fitting = self._taken + sum(entry.items for entry in self._late), []
        for entry in self._entries:
            if entry.applied:
                continue
            taken += entry.items
            if taken > limits.SERVICE_MAX_FRAGMENT_METADATA:
                break
            fitting.append(entry)
        return fitting

    def clear(self) -> int:
        """Remove all entries; return how many items were never written."""
        entries = self._entries + self._late
        left = sum(entry.items for entry in entries if not entry.applied)
        self._entries, self._late = [], []
        self._taken = 0
        return left


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str):
        raise InvalidFrame(
            _S.INVALID_ARG, f"{what} is of type {type(text).__name__}; give text (str)"
        )


def _checked_pairs(image_prefix: object, pairs: object) -> list[tuple[str, str]]:
    """Return the checked pairs of an event; raise the same errors as `put_event`."""
    _check_text("the image prefix", image_prefix)
    try:
        checked = [(name, value) for name, value in pairs]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InvalidFrame(
            _S.INVALID_ARG, f"the pairs of an event are {pairs!r:.100}; give (name, value) tuples"
        ) from None
    for name, value in checked:
        _check_text("the name in a pair of an event", name)
        _check_text("the value in a pair of an event", value)
    _check_event(str(image_prefix), checked)
    return checked


def _check_name(name: str) -> None:
    if name.startswith(TAG_RESERVED_PREFIX):
        raise kvs_error(
            _S.INVALID_METADATA_NAME,
            f"the name {name[:32]!r} is reserved, as all that begin with AWS; use another one",
        )


def _check_event(image_prefix: str, pairs: Sequence[tuple[str, str]]) -> None:
    _check_name(image_prefix)
    if len(image_prefix) > limits.MAX_IMAGE_PREFIX_LEN:
        raise kvs_error(
            _S.INVALID_IMAGE_PREFIX_LENGTH,
            f"the image prefix has {len(image_prefix)} characters; "
            f"at most {limits.MAX_IMAGE_PREFIX_LEN} are allowed",
        )
    if len(pairs) > limits.MAX_EVENT_PAIRS:
        raise InvalidFrame(
            _S.INVALID_ARG,
            f"the event has {len(pairs)} pairs; at most {limits.MAX_EVENT_PAIRS} are allowed",
        )
    for name, value in pairs:
        _check_name(name)
        if not 0 < len(name) <= limits.MAX_MKV_TAG_NAME_LEN:
            raise kvs_error(
                _S.INVALID_IMAGE_METADATA_KEY_LENGTH,
                f"the name {name[:32]!r} in a pair of an event has {len(name)} characters; "
                f"1 to {limits.MAX_MKV_TAG_NAME_LEN} are allowed",
            )
        if len(value) > limits.MAX_MKV_TAG_VALUE_LEN:
            raise kvs_error(
                _S.INVALID_IMAGE_METADATA_VALUE_LENGTH,
                f"the value of {name!r} in an event has {len(value)} characters; "
                f"at most {limits.MAX_MKV_TAG_VALUE_LEN} are allowed",
            )
