"""The Matroska elements in KVS streams, as a table of ids, names, payload types and parents.

RFC 8794 section 11.2 (EBML header) and RFC 9559 section 5 (Matroska). `parent` is the id of the
master element that contains the element, ROOT at top level, or ANYWHERE for global elements.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

__all__ = ["ANYWHERE", "ELEMENTS", "ROOT", "Element", "ElementType", "element_name"]


class ElementType(Enum):
    """The type of an element's payload."""

    MASTER = "master"
    UINT = "uint"
    INT = "int"
    FLOAT = "float"
    STRING = "string"
    DATE = "date"
    BINARY = "binary"


class Element(NamedTuple):
    """One row: id (with its length marker), name, payload type, and id of the parent."""

    id: int
    name: str
    type: ElementType
    parent: int


ROOT: Final = 0
ANYWHERE: Final = -1

EBML: Final = 0x1A45DFA3
EBML_VERSION: Final = 0x4286
EBML_READ_VERSION: Final = 0x42F7
EBML_MAX_ID_LENGTH: Final = 0x42F2
EBML_MAX_SIZE_LENGTH: Final = 0x42F3
DOC_TYPE: Final = 0x4282
DOC_TYPE_VERSION: Final = 0x4287
DOC_TYPE_READ_VERSION: Final = 0x4285
CRC_32: Final = 0xBF
VOID: Final = 0xEC

SEGMENT: Final = 0x18538067
SEEK_HEAD: Final = 0x114D9B74
INFO: Final = 0x1549A966
SEGMENT_UID: Final = 0x73A4
TIMECODE_SCALE: Final = 0x2AD7B1
DURATION: Final = 0x4489
DATE_UTC: Final = 0x4461
TITLE: Final = 0x7BA9
MUXING_APP: Final = 0x4D80
WRITING_APP: Final = 0x5741

TRACKS: Final = 0x1654AE6B
TRACK_ENTRY: Final = 0xAE
TRACK_NUMBER: Final = 0xD7
TRACK_UID: Final = 0x73C5
TRACK_TYPE: Final = 0x83
TRACK_NAME: Final = 0x536E
CODEC_ID: Final = 0x86
CODEC_PRIVATE: Final = 0x63A2
DEFAULT_DURATION: Final = 0x23E383
LANGUAGE: Final = 0x22B59C
VIDEO: Final = 0xE0
PIXEL_WIDTH: Final = 0xB0
PIXEL_HEIGHT: Final = 0xBA
AUDIO: Final = 0xE1
SAMPLING_FREQUENCY: Final = 0xB5
CHANNELS: Final = 0x9F
BIT_DEPTH: Final = 0x6264
CONTENT_ENCODINGS: Final = 0x6D80

CLUSTER: Final = 0x1F43B675
TIMECODE: Final = 0xE7
POSITION: Final = 0xA7
PREV_SIZE: Final = 0xAB
SIMPLE_BLOCK: Final = 0xA3
BLOCK_GROUP: Final = 0xA0
BLOCK: Final = 0xA1
BLOCK_DURATION: Final = 0x9B
REFERENCE_BLOCK: Final = 0xFB
DISCARD_PADDING: Final = 0x75A2
ENCRYPTED_BLOCK: Final = 0xAF

TAGS: Final = 0x1254C367
TAG: Final = 0x7373
TARGETS: Final = 0x63C0
SIMPLE_TAG: Final = 0x67C8
TAG_NAME: Final = 0x45A3
TAG_STRING: Final = 0x4487
TAG_BINARY: Final = 0x4485
TAG_LANGUAGE: Final = 0x447A
TAG_DEFAULT: Final = 0x4484

CUES: Final = 0x1C53BB6B
CHAPTERS: Final = 0x1043A770
ATTACHMENTS: Final = 0x1941A469

_T = ElementType
ELEMENTS: Final[dict[int, Element]] = {
    row[0]: Element(*row)
    for row in (
        (EBML, "EBML", _T.MASTER, ROOT),
        (EBML_VERSION, "EBMLVersion", _T.UINT, EBML),
        (EBML_READ_VERSION, "EBMLReadVersion", _T.UINT, EBML),
        (EBML_MAX_ID_LENGTH, "EBMLMaxIDLength", _T.UINT, EBML),
        (EBML_MAX_SIZE_LENGTH, "EBMLMaxSizeLength", _T.UINT, EBML),
        (DOC_TYPE, "DocType", _T.STRING, EBML),
        (DOC_TYPE_VERSION, "DocTypeVersion", _T.UINT, EBML),
        (DOC_TYPE_READ_VERSION, "DocTypeReadVersion", _T.UINT, EBML),
        (CRC_32, "CRC-32", _T.BINARY, ANYWHERE),
        (VOID, "Void", _T.BINARY, ANYWHERE),
        (SEGMENT, "Segment", _T.MASTER, ROOT),
        (SEEK_HEAD, "SeekHead", _T.MASTER, SEGMENT),
        (INFO, "Info", _T.MASTER, SEGMENT),
        (SEGMENT_UID, "SegmentUID", _T.BINARY, INFO),
        (TIMECODE_SCALE, "TimestampScale", _T.UINT, INFO),
        (DURATION, "Duration", _T.FLOAT, INFO),
        (DATE_UTC, "DateUTC", _T.DATE, INFO),
        (TITLE, "Title", _T.STRING, INFO),
        (MUXING_APP, "MuxingApp", _T.STRING, INFO),
        (WRITING_APP, "WritingApp", _T.STRING, INFO),
        (TRACKS, "Tracks", _T.MASTER, SEGMENT),
        (TRACK_ENTRY, "TrackEntry", _T.MASTER, TRACKS),
        (TRACK_NUMBER, "TrackNumber", _T.UINT, TRACK_ENTRY),
        (TRACK_UID, "TrackUID", _T.UINT, TRACK_ENTRY),
        (TRACK_TYPE, "TrackType", _T.UINT, TRACK_ENTRY),
        (TRACK_NAME, "Name", _T.STRING, TRACK_ENTRY),
        (CODEC_ID, "CodecID", _T.STRING, TRACK_ENTRY),
        (CODEC_PRIVATE, "CodecPrivate", _T.BINARY, TRACK_ENTRY),
        (DEFAULT_DURATION, "DefaultDuration", _T.UINT, TRACK_ENTRY),
        (LANGUAGE, "Language", _T.STRING, TRACK_ENTRY),
        (VIDEO, "Video", _T.MASTER, TRACK_ENTRY),
        (PIXEL_WIDTH, "PixelWidth", _T.UINT, VIDEO),
        (PIXEL_HEIGHT, "PixelHeight", _T.UINT, VIDEO),
        (AUDIO, "Audio", _T.MASTER, TRACK_ENTRY),
        (SAMPLING_FREQUENCY, "SamplingFrequency", _T.FLOAT, AUDIO),
        (CHANNELS, "Channels", _T.UINT, AUDIO),
        (BIT_DEPTH, "BitDepth", _T.UINT, AUDIO),
        (CONTENT_ENCODINGS, "ContentEncodings", _T.MASTER, TRACK_ENTRY),
        (CLUSTER, "Cluster", _T.MASTER, SEGMENT),
        (TIMECODE, "Timestamp", _T.UINT, CLUSTER),
        (POSITION, "Position", _T.UINT, CLUSTER),
        (PREV_SIZE, "PrevSize", _T.UINT, CLUSTER),
        (SIMPLE_BLOCK, "SimpleBlock", _T.BINARY, CLUSTER),
        (BLOCK_GROUP, "BlockGroup", _T.MASTER, CLUSTER),
        (BLOCK, "Block", _T.BINARY, BLOCK_GROUP),
        (BLOCK_DURATION, "BlockDuration", _T.UINT, BLOCK_GROUP),
        (REFERENCE_BLOCK, "ReferenceBlock", _T.INT, BLOCK_GROUP),
        (DISCARD_PADDING, "DiscardPadding", _T.INT, BLOCK_GROUP),
        (ENCRYPTED_BLOCK, "EncryptedBlock", _T.BINARY, CLUSTER),
        (TAGS, "Tags", _T.MASTER, SEGMENT),
        (TAG, "Tag", _T.MASTER, TAGS),
        (TARGETS, "Targets", _T.MASTER, TAG),
        (SIMPLE_TAG, "SimpleTag", _T.MASTER, TAG),
        (TAG_NAME, "TagName", _T.STRING, SIMPLE_TAG),
        (TAG_STRING, "TagString", _T.STRING, SIMPLE_TAG),
        (TAG_BINARY, "TagBinary", _T.BINARY, SIMPLE_TAG),
        (TAG_LANGUAGE, "TagLanguage", _T.STRING, SIMPLE_TAG),
        (TAG_DEFAULT, "TagDefault", _T.UINT, SIMPLE_TAG),
        (CUES, "Cues", _T.MASTER, SEGMENT),
        (CHAPTERS, "Chapters", _T.MASTER, SEGMENT),
        (ATTACHMENTS, "Attachments", _T.MASTER, SEGMENT),
    )
}


def element_name(element_id: int) -> str:
    """Return the element's name, or its id in hex if the table does not contain it."""
    known = ELEMENTS.get(element_id)
    return known.name if known else f"0x{element_id:X}"
