"""Tests of EBML header, Info, Tracks and Tags from other writers."""

from __future__ import annotations

import pytest

from kvsproducer.mkv import elements as el
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.ebml import element
from kvsproducer.mkv.masters import read_ebml_header, read_info, read_tags, read_tracks
from kvsproducer.status import InvalidMedia, StatusCode


def test_an_empty_ebml_header_has_the_defaults() -> None:
    assert read_ebml_header(b"", 0, 0) == ev.EbmlHeader(b"", "matroska", 1, 1)


def test_header_of_libwebm_and_ffmpeg() -> None:
    """It has DocType webm, version 4, and Void and CRC-32 elements."""
    data = (
        element(el.CRC_32, bytes(4))
        + element(el.EBML_MAX_ID_LENGTH, b"\x04")
        + element(el.DOC_TYPE, b"webm")
        + element(el.DOC_TYPE_VERSION, b"\x04")
        + element(el.DOC_TYPE_READ_VERSION, b"\x02")
        + element(el.VOID, bytes(10))
    )
    header = read_ebml_header(data, 0, 0)
    assert (header.doc_type, header.doc_type_version, header.doc_type_read_version) == (
        "webm",
        4,
        2,
    )


@pytest.mark.parametrize(
    ("element_id", "value"),
    [
        (el.EBML_READ_VERSION, b"\x02"),
        (el.EBML_MAX_ID_LENGTH, b"\x05"),
        (el.EBML_MAX_ID_LENGTH, b"\x03"),
        (el.EBML_MAX_SIZE_LENGTH, b"\x09"),
        (el.EBML_MAX_SIZE_LENGTH, b"\x00"),
        (el.DOC_TYPE, b"mp4"),
        (el.DOC_TYPE_VERSION, bytes(9)),
    ],
)
def test_headers_that_are_refused(element_id: int, value: bytes) -> None:
    """Ids of more than 4 bytes and sizes of more than 8 are not valid Matroska."""
    with pytest.raises(InvalidMedia) as caught:
        read_ebml_header(element(element_id, value), 0, 40)
    assert caught.value.status is StatusCode.ACK_ERR_INVALID_MKV_DATA
    assert caught.value.offset is not None


def test_info_defaults() -> None:
    """The default scale is 1 ms; unknown fields are ignored."""
    info = read_info(element(el.DURATION, bytes(8)) + element(0x4D81, b"?"), 0, 0)
    assert info.timecode_scale_ns == 1_000_000
    assert info.title == ""


def test_a_scale_of_zero_is_refused() -> None:
    with pytest.raises(InvalidMedia):
        read_info(element(el.TIMECODE_SCALE, b"\0"), 0, 0)


def test_tracks_of_another_writer() -> None:
    """They have short integers, a 4-byte float, and elements that are not parsed."""
    entry = (
        element(el.TRACK_NUMBER, b"\x01")
        + element(el.LANGUAGE, b"und")
        + element(el.CONTENT_ENCODINGS, element(0x6240, b""))
        + element(el.DEFAULT_DURATION, (40_000_000).to_bytes(4))
        + element(el.AUDIO, element(el.SAMPLING_FREQUENCY, bytes.fromhex("45fa0000")))
        + element(el.VIDEO, element(el.PIXEL_WIDTH, b"\x40") + element(0x54B0, b"\x01"))
    )
    tracks = read_tracks(element(el.VOID, b"") + element(el.TRACK_ENTRY, entry), 0, 0)
    assert tracks.entries == [
        ev.TrackEntry(1, sampling_frequency=8000.0, width=64, default_duration_ns=40_000_000)
    ]


def test_an_entry_without_number_is_refused() -> None:
    with pytest.raises(InvalidMedia, match="TrackNumber"):
        read_tracks(element(el.TRACK_ENTRY, element(el.CODEC_ID, b"V")), 0, 0)


def simple(name: bytes, value: bytes, inner: bytes = b"") -> bytes:
    return element(
        el.SIMPLE_TAG, element(el.TAG_NAME, name) + element(el.TAG_STRING, value) + inner
    )


def test_tags_in_any_arrangement() -> None:
    """Pairs are found in several Tags, nested SimpleTags, and a SimpleTag directly in Tags."""
    data = (
        element(el.TAG, element(el.TARGETS, b"") + simple(b"a", b"1", simple(b"b", b"2")))
        + element(el.TAG, simple(b"c", b""))
        + simple(b"d", b"4")
        + element(el.SIMPLE_TAG, element(el.TAG_BINARY, b"\0"))
    )
    assert read_tags(data, 0, 0).pairs == [
        ("a", "1"),
        ("b", "2"),
        ("c", ""),
        ("d", "4"),
        ("", ""),
    ]


def test_nesting_of_tags_is_limited() -> None:
    """A very large depth is refused, an unusual one is accepted."""
    for depth, fine in ((7, True), (9, False), (200, False)):
        data = b""
        for _ in range(depth):
            data = simple(b"n", b"v", data)
        data = element(el.TAG, data)
        if fine:
            assert len(read_tags(data, 0, 0).pairs) == depth
        else:
            with pytest.raises(InvalidMedia, match="nested"):
                read_tags(data, 0, 0)
