"""Parsing of whole master elements: EBML header, Info, Tracks, Tags (RFC 9559 section 5).

Each function takes the element's raw bytes, the position of its payload in them, and the element's
offset in the input. It returns the event, ignores unknown fields, and raises only InvalidMedia.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from kvsproducer.limits import MAX_TAG_DEPTH
from kvsproducer.mkv import elements as el
from kvsproducer.mkv.elements import ELEMENTS, ElementType
from kvsproducer.mkv.events import EbmlHeader, SegmentInfo, Tags, TrackEntry, Tracks
from kvsproducer.mkv.reading import (
    MAX_ID_BYTES,
    Walk,
    invalid_mkv,
    read_float,
    read_text,
    read_uint,
)

__all__ = ["MasterReader", "read_ebml_header", "read_info", "read_tags", "read_tracks"]

Value: TypeAlias = int | float | str | bytes
MasterReader: TypeAlias = Callable[[bytes, int, int], EbmlHeader | SegmentInfo | Tracks | Tags]

_MAX_SIZE_BYTES: Final = 8
_DOC_TYPES: Final = ("matroska", "webm")

_INFO_FIELDS: Final = {
    el.TIMECODE_SCALE: "timecode_scale_ns",
    el.SEGMENT_UID: "segment_uid",
    el.TITLE: "title",
    el.MUXING_APP: "muxing_app",
    el.WRITING_APP: "writing_app",
}
_TRACK_FIELDS: Final = {
    el.TRACK_NUMBER: "number",
    el.TRACK_UID: "uid",
    el.TRACK_TYPE: "track_type",
    el.TRACK_NAME: "name",
    el.CODEC_ID: "codec_id",
    el.CODEC_PRIVATE: "codec_private",
    el.DEFAULT_DURATION: "default_duration_ns",
    el.PIXEL_WIDTH: "width",
    el.PIXEL_HEIGHT: "height",
    el.SAMPLING_FREQUENCY: "sampling_frequency",
    el.CHANNELS: "channels",
    el.BIT_DEPTH: "bit_depth",
}


def _value(element_id: int, payload: memoryview, offset: int) -> Value:
    """Decode a payload by the type in the element table."""
    kind = ELEMENTS[element_id].type
    if kind is ElementType.UINT:
        return read_uint(payload, offset)
    if kind is ElementType.FLOAT:
        return read_float(payload, offset)
    if kind is ElementType.STRING:
        return read_text(payload)
    return bytes(payload)


def read_ebml_header(raw: bytes, start: int, offset: int) -> EbmlHeader:
    """Parse an EBML header.

    Refuses other document types and EBML versions, another maximum length of ids, and longer sizes.
    """
    fields: dict[int, Value] = {
        el.EBML_READ_VERSION: 1,
        el.EBML_MAX_ID_LENGTH: MAX_ID_BYTES,
        el.EBML_MAX_SIZE_LENGTH: _MAX_SIZE_BYTES,
        el.DOC_TYPE: "matroska",
        el.DOC_TYPE_VERSION: 1,
        el.DOC_TYPE_READ_VERSION: 1,
    }
    for element_id, payload, at in Walk().children(memoryview(raw)[start:], offset + start):
        if element_id in fields:
            fields[element_id] = _value(element_id, payload, at)
    for element_id, allowed in (
        (el.EBML_READ_VERSION, (1,)),
        (el.EBML_MAX_ID_LENGTH, (MAX_ID_BYTES,)),
        (el.EBML_MAX_SIZE_LENGTH, range(1, _MAX_SIZE_BYTES + 1)),
        (el.DOC_TYPE, _DOC_TYPES),
    ):
        if fields[element_id] not in allowed:
            name = el.element_name(element_id)
            raise invalid_mkv(f"{name} is {fields[element_id]!r}, not one of {allowed}", offset)
    return EbmlHeader(
        raw,
        str(fields[el.DOC_TYPE]),
        int(fields[el.DOC_TYPE_VERSION]),
        int(fields[el.DOC_TYPE_READ_VERSION]),
    )


def read_info(raw: bytes, start: int, offset: int) -> SegmentInfo:
    """Parse the Info element; refuses a timestamp scale of 0."""
    info = SegmentInfo(raw)
    for element_id, payload, at in Walk().children(memoryview(raw)[start:], offset + start):
        name = _INFO_FIELDS.get(element_id)
        if name is not None:
            setattr(info, name, _value(element_id, payload, at))
    if not info.timecode_scale_ns:
        raise invalid_mkv("TimestampScale is 0", offset)
    return info


def read_tracks(raw: bytes, start: int, offset: int) -> Tracks:
    """Parse the Tracks element; refuses an entry without a track number."""
    entries, walk = [], Walk()
    for element_id, payload, at in walk.children(memoryview(raw)[start:], offset + start):
        if element_id == el.TRACK_ENTRY:
            entry = TrackEntry()
            _fill_track(entry, payload, at, walk)
            if not entry.number:
                raise invalid_mkv("a TrackEntry without TrackNumber", at)
            entries.append(entry)
    return Tracks(raw, entries)


def _fill_track(entry: TrackEntry, data: memoryview, offset: int, walk: Walk) -> None:
    """Set the fields of `entry` from a TrackEntry and the Video or Audio element in it."""
    for element_id, payload, at in walk.children(data, offset):
        if element_id in (el.VIDEO, el.AUDIO):
            for inner_id, inner, inner_at in walk.children(payload, at):
                _set_track_field(entry, inner_id, inner, inner_at)
        else:
            _set_track_field(entry, element_id, payload, at)


def _set_track_field(entry: TrackEntry, element_id: int, payload: memoryview, offset: int) -> None:
    name = _TRACK_FIELDS.get(element_id)
    if name is not None:
        setattr(entry, name, _value(element_id, payload, offset))


def read_tags(raw: bytes, start: int, offset: int) -> Tags:
    """Parse a Tags element; refuses SimpleTags that are nested more than 8 levels deep."""
    pairs: list[tuple[str, str]] = []
    _collect_pairs(pairs, memoryview(raw)[start:], offset + start, Walk(), depth=0)
    return Tags(raw, pairs)


def _collect_pairs(
    pairs: list[tuple[str, str]], data: memoryview, offset: int, walk: Walk, *, depth: int
) -> None:
    """Append the pairs of all SimpleTags in a Tags, Tag or SimpleTag, outer ones first."""
    if depth > MAX_TAG_DEPTH:
        raise invalid_mkv(f"tags are nested deeper than {MAX_TAG_DEPTH}", offset)
    for element_id, payload, at in walk.children(data, offset):
        if element_id == el.SIMPLE_TAG:
            name = value = ""
            for inner_id, inner, _ in walk.children(payload, at):
                if inner_id == el.TAG_NAME:
                    name = read_text(inner)
                elif inner_id == el.TAG_STRING:
                    value = read_text(inner)
            pairs.append((name, value))
        if element_id in (el.TAG, el.SIMPLE_TAG):
            _collect_pairs(pairs, payload, at, walk, depth=depth + 1)
