"""Tests of the parser: structure, splits, limits, and invalid input."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.limits import MAX_MASTER_ELEMENTS, SERVICE_MAX_FRAGMENT_BYTES
from kvsproducer.mkv import MkvGenerator, MkvParser, end_of_fragment_tag, tags
from kvsproducer.mkv import elements as el
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.ebml import element, encode_number, id_bytes
from kvsproducer.mkv.header import EBML_HEADER
from kvsproducer.mkv.reading import read_header
from kvsproducer.status import InvalidMedia, StatusCode

Parse = Callable[[list[bytes]], list[ev.Event]]
Bytes = Callable[..., bytes]

INFO = element(el.INFO, element(el.TIMECODE_SCALE, b"\x0f\x42\x40"))
TRACKS = element(el.TRACKS, element(el.TRACK_ENTRY, element(el.TRACK_NUMBER, b"\x01")))
VOID = element(el.VOID, bytes(5))
CRC = element(el.CRC_32, bytes(4))


def names(events: list[ev.Event]) -> list[str]:
    return [
        el.element_name(event.id) if isinstance(event, ev.Skipped) else type(event).__name__
        for event in events
    ]


def refused(data: bytes, *, whole: bool = True) -> InvalidMedia:
    """Return the parser's error, which must be the same for a second call and another split."""
    errors = []
    for size in (len(data) or 1, 1):
        parser = MkvParser()
        with pytest.raises(InvalidMedia) as caught:
            for start in range(0, len(data), size):
                parser.receive_data(data[start : start + size])
                while parser.next_event() is not None:
                    pass
            if whole:
                parser.receive_eof()
                while not isinstance(parser.next_event(), ev.EndOfFile):
                    pass
        with pytest.raises(InvalidMedia) as again:
            parser.next_event()
        assert again.value is caught.value
        errors.append(caught.value)
    assert str(errors[0]) == str(errors[1])
    assert errors[0].offset is not None
    assert 0 <= errors[0].offset <= len(data)
    return errors[0]


# --- structure --------------------------------------------------------------------------------


def test_a_stream_from_our_generator(
    make_generator: Callable[..., MkvGenerator],
    splits: Callable[[bytes], list[list[bytes]]],
    parse: Parse,
) -> None:
    """Header, tags, two fragments and end-of-fragment tag give the same events for any split."""
    rng = random.Random(3)
    generator = make_generator()
    data = b""
    for index in range(8):
        at = 17_000_000_000_000_000 + index * 400_000
        packed = generator.pack(1 + index % 2, index % 4 == 0, at, at, 400_000, 300)
        cut = packed.prefix_length
        data += packed.header[:cut]
        if packed.kind:
            data += tags([("n", str(index))])
        data += packed.header[cut:] + rng.randbytes(300)
    data += end_of_fragment_tag()
    found = [parse(way) for way in splits(data)]
    assert all(events == found[0] for events in found)
    assert b"".join(event.raw for event in found[0]) == data
    fragment = ["ClusterStart", "Position", *["Block"] * 4, "ClusterEnd"]
    start = ["EbmlHeader", "SegmentStart", "SegmentInfo", "Tracks"]
    expected = [*start, "Tags", *fragment, "Tags", *fragment, "Tags", "EndOfFile"]
    assert names(found[0]) == expected


def test_known_sizes_and_elements_of_other_writers(
    parse: Parse, splits: Callable[[bytes], list[list[bytes]]], block: Bytes
) -> None:
    """Segment and Cluster of known size, SeekHead, Void, CRC-32, PrevSize, groups, Cues, trailing
    Void."""
    cluster = element(
        el.CLUSTER,
        CRC
        + element(el.PREV_SIZE, b"\x10")
        + element(el.TIMECODE, b"\x05")
        + block(b"one")
        + VOID
        + element(el.BLOCK_GROUP, element(el.BLOCK, b"\x81\0\1\0two"))
        + element(el.ENCRYPTED_BLOCK, b"?"),
    )
    body = (
        element(el.SEEK_HEAD, b"") + VOID + CRC + INFO + TRACKS + element(0x4FFF, b"unknown")
        + element(el.TAGS, b"") + cluster + element(el.CUES, bytes(9))
        + element(el.CHAPTERS, b"") + element(el.ATTACHMENTS, b"")
    )  # fmt: skip
    data = EBML_HEADER + VOID + element(el.SEGMENT, body) + VOID
    for way in splits(data):
        events = parse(way)
        assert b"".join(event.raw for event in events) == data
        assert names(events) == [
            "EbmlHeader", "Void", "SegmentStart", "SeekHead", "Void", "CRC-32", "SegmentInfo",
            "Tracks", "0x4FFF", "Tags", "ClusterStart", "Block", "Void", "Block",
            "EncryptedBlock", "ClusterEnd", "Cues", "Chapters", "Attachments", "Void", "EndOfFile",
        ]  # fmt: skip
    segment = next(event for event in events if isinstance(event, ev.SegmentStart))
    start = next(event for event in events if isinstance(event, ev.ClusterStart))
    assert segment.size == len(body)
    assert (start.timecode, start.size) == (5, len(cluster) - len(id_bytes(el.CLUSTER)) - 1)


def test_clusterstart_comes_with_the_timestamp(document: Bytes) -> None:
    """The endpoint can send BUFFERING as soon as a fragment has a timecode."""
    parser = MkvParser()
    parser.receive_data(document(INFO, TRACKS, id_bytes(el.CLUSTER), b"\xff\xe7\x82\x01"))
    events = []
    while (event := parser.next_event()) is not None:
        events.append(event)
    assert names(events)[-1] == "Tracks"
    assert parser.buffered == 8
    parser.receive_data(b"\x02")
    start = parser.next_event()
    assert isinstance(start, ev.ClusterStart)
    assert (start.timecode, start.size) == (0x102, None)
    assert parser.buffered == 0
    assert parser.offset == len(document(INFO, TRACKS)) + 9


@pytest.mark.parametrize("following", [TRACKS, INFO, VOID, element(el.CUES, b"")])
def test_what_ends_a_cluster_of_unknown_size(
    following: bytes, parse: Parse, document: Bytes, cluster: Bytes, block: Bytes
) -> None:
    """Any level-1 element ends the cluster; Void belongs to it."""
    found = names(parse([document(cluster(1, block(b"x")), following)]))
    inside = following is VOID
    assert found.index("ClusterEnd") == len(found) - (2 if inside else 3)


def test_documents_follow_one_another(parse: Parse, document: Bytes, cluster: Bytes) -> None:
    """In GetMedia responses, each fragment has its own EBML header and Segment."""
    one = document(INFO, TRACKS, cluster(1))
    events = parse([one + one])
    assert names(events).count("EbmlHeader") == 2
    assert names(events).count("ClusterEnd") == 2


def test_a_cluster_of_unknown_size_ends_with_its_segment(
    parse: Parse, cluster: Bytes, block: Bytes
) -> None:
    body = INFO + cluster(1, block(b"x"))
    data = EBML_HEADER + element(el.SEGMENT, body)
    assert names(parse([data + data]))[-6:] == [
        "SegmentStart", "SegmentInfo", "ClusterStart", "Block", "ClusterEnd", "EndOfFile",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [b"", EBML_HEADER + element(el.SEGMENT, b""), EBML_HEADER + id_bytes(el.SEGMENT) + b"\x90"],
)
def test_valid_ends_of_input(data: bytes, parse: Parse) -> None:
    """The input may be empty, an empty Segment, or a Segment cut off between its elements."""
    assert names(parse([data]))[-1] == "EndOfFile"


def test_no_events_follow_the_end() -> None:
    parser = MkvParser()
    parser.receive_eof()
    assert isinstance(parser.next_event(), ev.EndOfFile)
    assert parser.next_event() is None
    with pytest.raises(AssertionError):
        parser.receive_data(b"more")


def test_a_long_void_comes_in_pieces(
    parse: Parse,
    document: Bytes,
    splits: Callable[[bytes], list[list[bytes]]],
    cluster: Bytes,
    block: Bytes,
) -> None:
    """The pieces are the same for any split, and no more than one piece is buffered."""
    void = id_bytes(el.VOID) + encode_number(150_000) + bytes(150_000)
    data = document(void, INFO, cluster(0, void, block(b"x")))
    for way in splits(data)[2:]:
        events = parse(way)
        assert b"".join(event.raw for event in events) == data
        skipped = [event for event in events if isinstance(event, ev.Skipped)]
        assert [(len(event.raw), event.last) for event in skipped] == [
            (4, False), (65_536, False), (65_536, False), (18_928, True),
        ] * 2  # fmt: skip


# --- refusals ---------------------------------------------------------------------------------

SEGMENT = EBML_HEADER + id_bytes(el.SEGMENT) + b"\xff"
CLUSTER = SEGMENT + id_bytes(el.CLUSTER) + b"\xff"
TIME = element(el.TIMECODE, b"\0")

REFUSED = {
    "text": b"GIF89a",
    "zeros": bytes(8),
    "an MP4": bytes.fromhex("00000018667479706d703432"),
    "no EBML header": SEGMENT[len(EBML_HEADER) :],
    "Void before anything": VOID + EBML_HEADER,
    "EBML header of unknown size": id_bytes(el.EBML) + b"\xff",
    "EBML header of 5 KB": id_bytes(el.EBML) + encode_number(5000),
    "no Segment": EBML_HEADER + INFO,
    "two EBML headers": EBML_HEADER + EBML_HEADER,
    "a Segment in a Segment": SEGMENT + id_bytes(el.SEGMENT) + b"\xff",
    "an EBML header in a Segment of known size": (
        EBML_HEADER + element(el.SEGMENT, INFO + EBML_HEADER)
    ),
    "a block outside clusters": SEGMENT + element(el.SIMPLE_BLOCK, b"\x81\0\0\0x"),
    "Info of unknown size": SEGMENT + id_bytes(el.INFO) + b"\xff",
    "Info of 65 KB": SEGMENT + id_bytes(el.INFO) + encode_number(66_000),
    "Tracks of 5 MB": SEGMENT + id_bytes(el.TRACKS) + encode_number(5_000_000),
    "Tags of 2 MB": SEGMENT + id_bytes(el.TAGS) + encode_number(2_000_000),
    "Info past its Segment": EBML_HEADER + element(el.SEGMENT, INFO[:-1]) + b"\0\0\0",
    "a header past its Segment": EBML_HEADER + element(el.SEGMENT, b"\x15\x49") + b"\xa9\x66\x80",
    "a cluster past its Segment": (
        EBML_HEADER + element(el.SEGMENT, id_bytes(el.CLUSTER) + b"\x8a" + TIME) + bytes(9)
    ),
    "a cluster without Timestamp": SEGMENT + element(el.CLUSTER, VOID),
    "a block before the Timestamp": CLUSTER + element(el.SIMPLE_BLOCK, b"\x81\0\0\0x"),
    "a cluster in a cluster's lead": CLUSTER + id_bytes(el.CLUSTER) + b"\xff",
    "a Timestamp of 9 bytes": CLUSTER + element(el.TIMECODE, bytes(9)),
    "a long lead": CLUSTER + element(el.VOID, bytes(70_000)),
    "a lead of many": CLUSTER + element(el.VOID, b"") * 33_000,
    "a tag in a cluster": CLUSTER + TIME + element(el.TAG, b""),
    "a cluster in a known one": SEGMENT + element(el.CLUSTER, TIME + element(el.TAGS, b"")),
    "a block past its cluster": (
        SEGMENT + id_bytes(el.CLUSTER) + encode_number(6) + TIME + b"\xa3\x85\x81\0\0\0x"
    ),
    "a block group of unknown size": CLUSTER + TIME + id_bytes(el.BLOCK_GROUP) + b"\xff",
    "junk after a Segment": EBML_HEADER + element(el.SEGMENT, b"") + INFO,
    "a bad block": CLUSTER + TIME + element(el.SIMPLE_BLOCK, b"\x81"),
    # what is cut
    "half a header": EBML_HEADER[:20],
    "after the EBML header": EBML_HEADER,
    "half an Info": SEGMENT + INFO[:-2],
    "half a Cluster id": SEGMENT + b"\x1f\x43",
    "half a lead": CLUSTER,
    "half a Timestamp": CLUSTER + TIME[:-1],
    "half a block": CLUSTER + TIME + b"\xa3\x85\x81\0",
    "a known cluster cut": SEGMENT + id_bytes(el.CLUSTER) + b"\x90" + TIME,
    "half a short Void": SEGMENT + VOID[:-1],
    "half a long Void": SEGMENT + id_bytes(el.VOID) + encode_number(90_000) + bytes(80_000),
}


@pytest.mark.parametrize("case", REFUSED)
def test_input_that_is_refused(case: str) -> None:
    """The status is the service's for invalid Matroska, for any split and each further call."""
    assert refused(REFUSED[case]).status is StatusCode.ACK_ERR_INVALID_MKV_DATA


def test_refusals_do_not_wait_for_the_payload() -> None:
    """A declared size above the limit is refused before the payload arrives."""
    header = CLUSTER + TIME + id_bytes(el.SIMPLE_BLOCK)
    error = refused(header + encode_number(SERVICE_MAX_FRAGMENT_BYTES + 1), whole=False)
    assert error.status is StatusCode.ACK_ERR_FRAGMENT_SIZE_REACHED
    assert error.offset == len(CLUSTER + TIME)


def test_the_largest_block_is_the_callers_choice() -> None:
    parser = MkvParser(max_block_bytes=10)
    parser.receive_data(CLUSTER + TIME + element(el.SIMPLE_BLOCK, b"\x81\0\0\0" + bytes(6)))
    parser.receive_data(element(el.SIMPLE_BLOCK, b"\x81\0\0\0" + bytes(7)))
    events = [parser.next_event() for _ in range(4)]
    assert isinstance(events[-1], ev.Block)
    with pytest.raises(InvalidMedia):
        parser.next_event()


def test_the_offset_is_absolute(document: Bytes, cluster: Bytes, block: Bytes) -> None:
    """The offset is that of the invalid element, also inside a master element."""
    good = document(INFO, cluster(0, block(b"x" * 100)))
    assert refused(good + b"\x00").offset == len(good)
    tracks = document(INFO, element(el.TRACKS, element(el.TRACK_ENTRY, b"\xd7\x89" + bytes(9))))
    assert refused(tracks).offset == len(tracks) - 9


# --- hostile input ----------------------------------------------------------------------------


def feed(data: bytes) -> int:
    """Feed data in chunks, ignore InvalidMedia, and return the largest number of buffered bytes."""
    parser = MkvParser()
    held = consumed = 0
    try:
        for start in range(0, len(data), 37):
            parser.receive_data(data[start : start + 37])
            while (event := parser.next_event()) is not None:
                consumed += len(event.raw)
            held = max(held, parser.buffered)
            assert consumed + parser.buffered == min(start + 37, len(data))
        parser.receive_eof()
        while parser.next_event() is not None:
            pass
    except InvalidMedia as error:
        assert error.offset is not None  # noqa: PT017 - errors are allowed, not demanded
    return held


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    feed(data)
    feed(SEGMENT + data)
    feed(CLUSTER + TIME + data)


@given(st.integers(0, 2**32))
def test_damaged_streams_raise_nothing_else(seed: int) -> None:
    """A few bytes of a valid stream are changed, removed or duplicated."""
    rng = random.Random(seed)
    data = bytearray(
        SEGMENT + INFO + TRACKS + tags([("name", "value")]) + CLUSTER[len(SEGMENT) :] + TIME
        + element(el.SIMPLE_BLOCK, b"\x81\0\0\x86\2\3\1" + bytes(9))
        + element(el.BLOCK_GROUP, element(el.BLOCK, b"\x81\0\0\x02\1\3" + bytes(9)))
        + end_of_fragment_tag()
    )  # fmt: skip
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(data))
        what = rng.randrange(3)
        if what == 0:
            data[place] = rng.randrange(256)
        elif what == 1:
            del data[place : place + rng.randrange(1, 9)]
        else:
            data[place:place] = data[place : place + rng.randrange(1, 9)]
    assert feed(bytes(data)) < 1000


@pytest.mark.parametrize("where", ["block group", "tags", "nested tags", "tracks"])
def test_empty_elements_cost_no_more_than_their_limit(
    where: str, document: Bytes, cluster: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test counts the headers that are read for as many empty elements as fit."""
    read = 0

    def counted(data: bytes | memoryview, offset: int) -> tuple[int, int, int] | None:
        nonlocal read
        read += 1
        return read_header(data, offset)

    many = b"\xec\x80" * 500_000
    nested = many
    for _ in range(6):
        nested = element(el.SIMPLE_TAG, nested)
    data = {
        "block group": lambda: cluster(0, element(el.BLOCK_GROUP, many * 20)),
        "tags": lambda: element(el.TAGS, many),
        "nested tags": lambda: element(el.TAGS, element(el.TAG, nested)),
        "tracks": lambda: element(el.TRACKS, many),
    }[where]()
    parser = MkvParser()
    parser.receive_data(document(data))
    for module in ("reading", "parser"):
        monkeypatch.setattr(f"kvsproducer.mkv.{module}.read_header", counted)
    with pytest.raises(InvalidMedia, match="elements in a master") as caught:
        while parser.next_event() is not None:
            pass
    assert caught.value.status is StatusCode.ACK_ERR_INVALID_MKV_DATA
    assert read < MAX_MASTER_ELEMENTS + 100
