"""Both fields of a picture in one packet, from transport streams, raw files and MP4."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from tests.h264_fields import Unit, coded, parameter_sets

from kvsproducer.codecs import h264
from kvsproducer.codecs.nal import annexb_to_avcc, split_annexb
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.fields import FieldReader, join_fields
from kvsproducer.sources.media import Kind, MediaPacket
from kvsproducer.sources.source import open_source
from kvsproducer.status import KvsError, StatusCode, kvs_error

SETS = parameter_sets()
PICTURES = "IPBPBPB" * 4
TICK = TICKS_PER_SECOND // 50


def packets(units: list[Unit]) -> Iterator[MediaPacket]:
    for number, unit in enumerate(units):
        pts, dts = 2 * unit.shown + unit.bottom, 2 * unit.decoded + unit.bottom
        times = ((pts + 2) * TICK, dts * TICK, TICK)
        yield MediaPacket(Kind.VIDEO, unit.data, *times, unit.key, number)


def numbers(joined: Iterator[MediaPacket]) -> list[tuple[int, int | None, int]]:
    return [(p.number, p.pts, p.duration) for p in joined]


def write(path: Path, units: list[Unit]) -> Path:
    """Write a transport stream or MP4 with one packet per field, or the fields as a raw file."""
    raw = path.with_suffix(".h264")
    raw.write_bytes(b"".join(unit.data for unit in units))
    if path == raw:
        return path
    with av.open(str(raw)) as read, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(read.streams.video[0])
        for unit in units:
            packet = av.Packet(unit.data)
            packet.stream, packet.time_base, packet.duration = stream, Fraction(1, 50), 1
            packet.pts = 2 * unit.shown + unit.bottom + 2
            packet.dts = 2 * unit.decoded + unit.bottom
            packet.is_keyframe = unit.key
            output.mux(packet)
    return path


@pytest.mark.parametrize("delimiters", [True, False])
def test_two_fields_become_one_picture(delimiters: bool) -> None:
    """The picture has the times of the first field and the duration of both, and one delimiter."""
    units = coded(PICTURES, delimiters=delimiters)
    joined = list(join_fields(packets(units), FieldReader(SETS)))
    assert [p.number for p in joined] == list(range(len(PICTURES)))
    assert [p.pts for p in joined] == [(2 * u.shown + 2) * TICK for u in units[::2]]
    assert {p.duration for p in joined} == {2 * TICK}
    assert [p.key_frame for p in joined] == [kind == "I" for kind in PICTURES]
    for packet in joined:
        delimited = [unit[0] for unit in split_annexb(packet.data)].count(9)
        assert delimited == delimiters


def test_fields_with_lengths() -> None:
    """MP4 files copied from a transport stream have one sample for each field."""
    units = coded(PICTURES)
    record = h264.cpd_to_avcc(SETS)
    for unit in units:
        object.__setattr__(unit, "data", b"".join(annexb_to_avcc(unit.data)[0]))
    joined = list(join_fields(packets(units), FieldReader(record)))
    assert len(joined) == len(PICTURES)
    assert sum(len(p.data) for p in joined) == sum(len(u.data) for u in units) - 6 * len(joined)


def test_packets_that_are_not_a_pair_stay_separate() -> None:
    """A lost field, two of the same parity, complete pictures, sound, and unreadable data."""
    units = coded("IPPP")
    del units[3]
    pairs = [(p.number, len(p.data)) for p in join_fields(packets(units), FieldReader(SETS))]
    assert [number for number, _ in pairs] == [0, 1, 2, 3]
    assert pairs[1][1] == len(units[2].data)
    assert len(list(join_fields(packets(units[2:3] * 2), FieldReader(SETS)))) == 2
    sound = MediaPacket(Kind.AUDIO, b"x", 0, 0, 0, True, 0)
    mixed = list(packets(coded("IP")))
    mixed.insert(1, sound)
    assert [p.kind for p in join_fields(mixed, FieldReader(SETS))].count(Kind.VIDEO) == 2
    for data in (b"", b"\0\0\1", b"\0\0\1\x41", b"x" * 9):
        assert FieldReader(SETS).only_field(data) is None
    assert not FieldReader(b"\x01bad").interlaced


def test_held_field_is_yielded_before_an_error() -> None:
    """Reading fails between two fields."""

    def broken() -> Iterator[MediaPacket]:
        yield from list(packets(coded("IP")))[:3]
        raise kvs_error(StatusCode.READ_FILE_FAILED, "gone")

    seen = []
    with pytest.raises(KvsError, match="gone"):
        for packet in join_fields(broken(), FieldReader(SETS)):
            seen.append(packet.number)  # noqa: PERF401  what came before the error counts
    assert seen == [0, 1]


@pytest.mark.parametrize("name", ["clip.ts", "clip.h264", "clip.mp4", "clip.mkv"])
def test_field_coded_media_is_put_by_pictures(tmp_path: Path, name: str) -> None:
    """Every picture is put once, at 25 fps, and FFmpeg decodes the same number."""
    path = write(tmp_path / name, coded(PICTURES, time_scale=50))
    with open_source(path, start=0) as source:
        frames = list(source.frames())
    assert len(frames) == len(PICTURES)
    shown = sorted(frame.pts for frame in frames)
    assert {round((b - a) / 10_000) for a, b in pairwise(shown)} == {40}
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = source.tracks[0].codec_private_data
    pictures = [p for f in frames for p in decoder.decode(av.Packet(f.data))]
    assert len(pictures) + len(decoder.decode(None)) == len(PICTURES)


def test_fields_through_a_pipe(tmp_path: Path) -> None:
    """Standard input gives the same result."""
    data = write(tmp_path / "clip.ts", coded(PICTURES)).read_bytes()
    with open_source("-", stdin=io.BytesIO(data), start=0) as source:
        assert len(list(source.frames())) == len(PICTURES)
