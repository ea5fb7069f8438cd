"""The fuzz targets: one function for each format, which accepts any bytes.

Each target ignores the documented errors of the functions it calls. Any other exception, and a
failed assertion, is a finding. `seeds` gives each target valid inputs to begin with: golden cases
and streams from the generator. The functions need no fuzzer: `tests/test_fuzz.py` runs them on the
seeds and on damaged seeds.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from kvsproducer.codecs import (
    VideoCodec,
    annexb_to_avcc,
    avcc_to_annexb,
    h264,
    h265,
    is_key_frame,
    parameter_sets,
    parse_aac_config,
    parse_adts,
    parse_bitmap_info,
    parse_pcm_config,
    split_annexb,
    split_avcc,
    unescape,
)
from kvsproducer.limits import MIB
from kvsproducer.mkv import (
    MkvGenerator,
    MkvParser,
    NalAdaptation,
    TrackInfo,
    TrackType,
    end_of_fragment_tag,
    tags,
)
from kvsproducer.mkv import events as ev
from kvsproducer.mkv.adaptation import FrameAdapter
from kvsproducer.status import InvalidFrame, InvalidMedia

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "data" / "golden"
REFUSALS = (InvalidFrame, InvalidMedia)
_PIECE_BYTES = (1, 2, 3, 7, 64, 1000)
_MAX_BLOCK_BYTES = MIB
_ADAPTATIONS = (
    NalAdaptation.NONE,
    NalAdaptation.ANNEXB_NALS,
    NalAdaptation.AVCC_NALS,
    NalAdaptation.ANNEXB_CPD_NALS,
    NalAdaptation.AVCC_NALS | NalAdaptation.ANNEXB_CPD_NALS,
)


def parser(data: bytes) -> None:
    """Parse input in chunks chosen by the first byte; the events must not depend on the chunks."""
    piece = _PIECE_BYTES[data[0] % len(_PIECE_BYTES)] if data else 1
    rest = data[1:]
    whole = _parse([rest])
    cut = _parse([rest[at : at + piece] for at in range(0, len(rest), piece)])
    assert whole == cut, "the events depend on the split"
    raw, failed = whole
    assert rest.startswith(raw), "the events differ from the input"
    assert failed or raw == rest, "bytes were lost"


def _parse(chunks: list[bytes]) -> tuple[bytes, bool]:
    """Return the input that events consumed, and whether the parser refused the rest."""
    reader = MkvParser(max_block_bytes=_MAX_BLOCK_BYTES)
    raw: list[bytes] = []
    try:
        for chunk in chunks:
            reader.receive_data(chunk)
            raw += _events(reader)
        reader.receive_eof()
        raw += _events(reader)
    except REFUSALS as error:
        if error.offset is None:
            raise AssertionError("an error without an offset") from error
        return b"".join(raw), True
    return b"".join(raw), False


def _events(reader: MkvParser) -> Iterator[bytes]:
    while (event := reader.next_event()) is not None:
        if isinstance(event, ev.Block):
            assert sum(map(len, event.frames)) <= len(event.raw), "frames longer than their block"
        yield event.raw


def h264_sps(data: bytes) -> None:
    """Parse H.264 codec private data of any form."""
    for read in (h264.parse_cpd, h264.parse_sps):
        try:
            sps = read(data)
        except REFUSALS:
            continue
        assert 0 <= sps.width <= 0xFFFF, "the width exceeds 16 bits"
        assert 0 <= sps.height <= 0xFFFF, "the height exceeds 16 bits"


def h265_sps(data: bytes) -> None:
    """Parse H.265 codec private data of any form, tolerant and strict."""
    for read in (h265.parse_cpd, h265.parse_sps):
        for strict in (False, True):
            try:
                sps = read(data, strict=strict)
            except REFUSALS:
                continue
            assert 0 <= sps.width <= 0xFFFF, "the width exceeds 16 bits"
            assert len(sps.general) == 12, "general profile, tier and level are incomplete"


def records(data: bytes) -> None:
    """Parse and build avcC and hvcC records; a record that was built can be parsed."""
    for read in (h264.parse_avcc, h265.parse_hvcc):
        try:
            read(data)
        except REFUSALS:
            continue
    for make, read_back in (
        (h264.cpd_to_avcc, h264.parse_avcc),
        (h265.cpd_to_hvcc, h265.parse_hvcc),
    ):
        try:
            record = make(data)
        except REFUSALS:
            continue
        read_back(record)


def nal(data: bytes) -> None:
    """Convert Annex-B to lengths and back; a second conversion changes nothing."""
    try:
        units = split_avcc(data)
    except REFUSALS:
        units = []
    else:
        buffers, size = avcc_to_annexb(data)
        assert size == len(data) == sum(map(len, buffers)), "the size differs from the sum"
    try:
        buffers, size = annexb_to_avcc(data)
    except REFUSALS:
        assert data, "empty data was refused"
    else:
        joined = b"".join(buffers)
        assert size == len(joined), "the size differs from the sum"
        if joined:
            units = split_avcc(joined)
            assert units == split_annexb(data), "units were lost"
    for codec in VideoCodec:
        is_key_frame(units, codec)
        parameter_sets(units, codec)
    assert len(unescape(data)) <= len(data), "unescaping made it longer"


def adaptation(data: bytes) -> None:
    """Adapt a key frame with private data of each form; a change gives a record only once."""
    if len(data) < 2:
        return
    codec = "h265" if data[0] & 1 else "h264"
    flags = _ADAPTATIONS[(data[0] >> 1) % len(_ADAPTATIONS)]
    private, frame = data[2 : 2 + data[1]], data[2 + data[1] :]
    track = TrackInfo(1, TrackType.VIDEO, "V", codec_private_data=private)
    adapter = FrameAdapter([track], flags, content_type=f"video/{codec}")
    try:
        buffers, size = adapter.adapt(1, frame)
    except REFUSALS:
        return
    assert size == sum(map(len, buffers)), "the size differs from the sum"
    record = adapter.codec_private_data(1, buffers)
    if record is not None:
        assert record, "the private data is empty"
        assert adapter.codec_private_data(1, buffers) is None, "a change is reported twice"


def audio(data: bytes) -> None:
    """Parse AudioSpecificConfig, ADTS, WAVEFORMATEX and BITMAPINFOHEADER."""
    for read in (parse_aac_config, parse_adts, parse_pcm_config, parse_bitmap_info):
        try:
            read(data)
        except REFUSALS:
            continue


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (parser, h264_sps, h265_sps, records, nal, adaptation, audio)
}


def _golden(name: str, member: str, **wanted: str) -> Iterator[bytes]:
    """Yield the short byte strings in a file of golden cases."""
    lines = gzip.decompress((GOLDEN / f"{name}.jsonl.gz").read_bytes()).splitlines()
    for case in map(json.loads, lines):
        data = case.get(member)
        if isinstance(data, str) and all(case.get(k) == v for k, v in wanted.items()):
            yield bytes.fromhex(data)


def _streams() -> Iterator[bytes]:
    """Yield small streams of one and two tracks, with tags, for each size of chunks."""
    video = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", "v", b"\x01" * 20, 64, 48)
    sound = TrackInfo(2, TrackType.AUDIO, "A_AAC", "a", b"\x12\x10")
    for cut, tracks in enumerate(([video], [sound], [video, sound], [video]) * 2):
        generator = MkvGenerator(tracks, content_type="video/h264,audio/aac")
        out = [bytes((cut,))]
        for number in range(6):
            packed = generator.pack(tracks[0].track_id, number % 3 == 0, number, number, 1, 3)
            head = packed.header[: packed.prefix_length] + tags([("n", "v")]) * bool(packed.kind)
            out.append(head + packed.header[packed.prefix_length :] + b"abc")
        yield b"".join([*out, end_of_fragment_tag()])


def seeds(target: str) -> list[bytes]:
    """Return the initial inputs of a target."""
    if target == "parser":
        return list(_streams())
    if target == "nal":
        return list(_golden("nal", "input"))
    if target == "adaptation":
        return [
            bytes((number, len(cpd))) + cpd + frame
            for number, cpd in enumerate(list(_golden("cpd", "cpd", codec="h264"))[::9])
            for frame in list(_golden("nal", "input"))[::9]
            if len(cpd) < 256
        ]
    if target == "audio":
        return [d for c in ("aac", "pcm", "bih") for d in _golden("cpd", "cpd", codec=c)]
    codecs = {"h264_sps": ("h264",), "h265_sps": ("h265",), "records": ("h264", "h265")}[target]
    return [data for codec in codecs for data in _golden("cpd", "cpd", codec=codec)]
