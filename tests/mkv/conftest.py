"""Fixtures for the tests of mkv/: parsing of split input, and small documents."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest

from kvsproducer.mkv import MkvGenerator, MkvParser, TrackInfo, TrackType
from kvsproducer.mkv import elements as el
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.ebml import element, id_bytes
from kvsproducer.mkv.header import EBML_HEADER


@pytest.fixture
def parse() -> Callable[[Iterable[bytes]], list[ev.Event]]:
    """Return a function that parses chunks to the end of the file."""
    return parse_chunks


def parse_chunks(chunks: Iterable[bytes]) -> list[ev.Event]:
    parser = MkvParser()
    found: list[ev.Event] = []
    for chunk in chunks:
        parser.receive_data(chunk)
        while (event := parser.next_event()) is not None:
            found.append(event)
    parser.receive_eof()
    while (event := parser.next_event()) is not None:
        found.append(event)
    return found


@pytest.fixture
def splits() -> Callable[[bytes], list[list[bytes]]]:
    """Return a function that splits input in several ways: whole, byte by byte, and at random."""

    def cut(data: bytes) -> list[list[bytes]]:
        rng = random.Random(20241118)
        ways = [[data], [data[i : i + 1] for i in range(len(data))]]
        for count in (1, 3, 17, 60):
            marks = sorted(rng.randrange(len(data) + 1) for _ in range(count))
            ends = [*marks, len(data)]
            ways.append([data[a:b] for a, b in zip([0, *marks], ends, strict=True)])
        return ways

    return cut


@pytest.fixture
def document() -> Callable[..., bytes]:
    """Return a function that makes an EBML header, a Segment, and the given level-1 elements."""

    def make(*parts: bytes, segment_size: bytes = b"\xff") -> bytes:
        return EBML_HEADER + id_bytes(el.SEGMENT) + segment_size + b"".join(parts)

    return make


@pytest.fixture
def cluster() -> Callable[..., bytes]:
    """Return a function that makes a Cluster with its Timestamp first; `known` gives it a size."""

    def make(timecode: int, *parts: bytes, known: bool = False) -> bytes:
        body = element(el.TIMECODE, timecode.to_bytes(8)) + b"".join(parts)
        if known:
            return element(el.CLUSTER, body)
        return id_bytes(el.CLUSTER) + b"\xff" + body

    return make


@pytest.fixture
def block() -> Callable[..., bytes]:
    """Return a function that makes a SimpleBlock of track 1."""

    def make(payload: bytes, timecode: int = 0, flags: int = 0x80) -> bytes:
        return element(el.SIMPLE_BLOCK, b"\x81" + timecode.to_bytes(2) + bytes([flags]) + payload)

    return make


VIDEO = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", "video")
AUDIO = TrackInfo(2, TrackType.AUDIO, "A_AAC", "audio")


@pytest.fixture
def video_track() -> TrackInfo:
    return VIDEO


@pytest.fixture
def make_generator() -> Callable[..., MkvGenerator]:
    """Return a function that makes a generator with one video and one audio track."""

    def make(**options: object) -> MkvGenerator:
        arguments: dict[str, object] = {
            "tracks": [VIDEO, AUDIO],
            "content_type": "video/h264,audio/aac",
            **options,
        }
        return MkvGenerator(**arguments)  # type: ignore[arg-type]

    return make
