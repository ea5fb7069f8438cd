"""Fragments of GetMedia written to files that FFmpeg plays, or to a pipe."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from botocore.session import Session

import kvsproducer as kvs
from kvsproducer.cli.recording import Recording, split_document
from kvsproducer.endpoint import LocalEndpoint
from kvsproducer.mkv import tags
from kvsproducer.reader import Assembler
from kvsproducer.status import KvsError, StatusCode


def fragments_of(endpoint: LocalEndpoint, source: str, stream: str) -> list[kvs.ReadFragment]:
    """`source` put, and read back as fragments."""
    session = Session()
    session.set_credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    options = {"region_name": "us-west-2", "session": session, "endpoint_url": endpoint.url}
    offline = kvs.StreamingType.OFFLINE
    result = kvs.put_media(source, stream, streaming_type=offline, retention="PT2H", **options)
    found = []
    for fragment in kvs.get_media(stream, **options):
        found.append(fragment)
        if len(found) == result.fragments:
            break
    return found


@pytest.fixture(scope="module")
def found(endpoint: LocalEndpoint) -> list[kvs.ReadFragment]:
    source = "testsrc:duration=3,size=64x64,gop=25,bframes=2,audio=1"
    return fragments_of(endpoint, source, "recorded")


@pytest.fixture(scope="module")
def others(endpoint: LocalEndpoint) -> list[kvs.ReadFragment]:
    """Of another size, without sound."""
    return fragments_of(endpoint, "testsrc:duration=1,size=96x64,gop=25", "recorded-other")


def record(path: Path, *fragments: kvs.ReadFragment) -> Recording:
    """All of them, in this order."""
    recording = Recording(str(path))
    for fragment in fragments:
        recording.add(fragment)
    recording.close()
    return recording


def cut(fragment: kvs.ReadFragment) -> kvs.ReadFragment:
    """The fragment as it is stored when the connection was lost in the middle of it."""
    raw = fragment.raw
    end = raw.index(bytes(fragment.frames[9].data))
    end = raw.rindex(b"\xa3", 0, end)
    assembler = Assembler()
    (short,) = [*assembler.receive_data(raw[:end]), *assembler.receive_eof()]
    assert 0 < len(short.frames) < len(fragment.frames)
    return short


def payloads(*fragments: kvs.ReadFragment) -> list[bytes]:
    return [bytes(f.data) for x in fragments for f in x.frames if f.track_number == 1]


def video_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_one_header_for_all(found: list[kvs.ReadFragment], tmp_path: Path) -> None:
    """One EBML header, every packet, and FFmpeg decodes it all."""
    path = tmp_path / "out.mkv"
    recording = record(path, *found)
    data = path.read_bytes()
    assert data.count(b"\x1a\x45\xdf\xa3") == recording.documents == 1
    assert b"AWS_KINESISVIDEO" not in data
    assert video_packets(path) == payloads(*found)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 75


def test_same_copy_is_written_once(found: list[kvs.ReadFragment], tmp_path: Path) -> None:
    """After a lost connection the archive may have a fragment twice; the file must not."""
    path = tmp_path / "out.mkv"
    recording = record(path, found[0], found[1], found[0], found[1], found[2])
    assert (recording.fragments, recording.repeated) == (3, 2)
    assert video_packets(path) == payloads(*found)


@pytest.mark.parametrize("order", [(0, 10, 1, 2), (0, 10, 2, 1), (0, 1, 20, 2), (0, 10, 20, 1, 2)])
def test_later_copy_replaces_a_cut_one(
    found: list[kvs.ReadFragment], tmp_path: Path, order: tuple[int, ...]
) -> None:
    """10 and 20 are incomplete copies of fragments 1 and 2; the complete copies replace them."""
    path = tmp_path / "out.mkv"
    copies = {**dict(enumerate(found)), 10: cut(found[1]), 20: cut(found[2])}
    recording = record(path, *(copies[number] for number in order))
    assert (recording.fragments, recording.repeated) == (3, len(order) - 3)
    assert recording.frames == sum(len(fragment.frames) for fragment in found)
    assert video_packets(path) == payloads(*found)


def test_other_tracks_begin_a_file_of_their_own(
    found: list[kvs.ReadFragment], others: list[kvs.ReadFragment], tmp_path: Path
) -> None:
    """OUT.mkv, OUT-2.mkv and OUT-3.mkv can each be played."""
    path = tmp_path / "out.mkv"
    recording = record(path, *found[:2], *others, found[2])
    assert recording.files == [str(tmp_path / f"out{part}.mkv") for part in ("", "-2", "-3")]
    assert video_packets(path) == payloads(*found[:2])
    assert video_packets(tmp_path / "out-2.mkv") == payloads(*others)
    assert video_packets(tmp_path / "out-3.mkv") == payloads(found[2])


def test_files_are_not_overwritten(
    found: list[kvs.ReadFragment], others: list[kvs.ReadFragment], tmp_path: Path
) -> None:
    """Not the first without `force`; a later one takes the next number that is free."""
    path = tmp_path / "out.mkv"
    path.write_text("mine")
    with pytest.raises(KvsError, match="--force") as refused:
        Recording(str(path))
    assert refused.value.status is StatusCode.INVALID_ARG
    assert path.read_text() == "mine"
    path.unlink()
    second = tmp_path / "out-2.mkv"
    second.write_text("mine")
    assert record(path, found[0], *others).files[1] == str(tmp_path / "out-3.mkv")
    assert second.read_text() == "mine"


def test_layouts_are_announced(
    found: list[kvs.ReadFragment], others: list[kvs.ReadFragment], tmp_path: Path
) -> None:
    """`on_layout` is called before the document is written."""
    announced = []
    recording = Recording(str(tmp_path / "out.mkv"))
    recording.on_layout = lambda tracks, document: announced.append(
        (len(tracks), document, len(recording.files))
    )
    for fragment in (*found, *others):
        recording.add(fragment)
    recording.close()
    assert announced == [(2, 1, 0), (1, 2, 1)]


def test_producer_metadata_stays(found: list[kvs.ReadFragment]) -> None:
    """Tags of the producer are kept, those of the service are not."""
    raw = found[0].raw
    cluster = raw.index(b"\x1f\x43\xb6\x75")
    own = tags([("door", "open"), ("AWS_KINESISVIDEO_IMAGE_GENERATION", "")])
    assembler = Assembler()
    changed = raw[:cluster] + own + raw[cluster:]
    (fragment,) = [*assembler.receive_data(changed), *assembler.receive_eof()]
    _, media = split_document(fragment)
    assert b"door" in media
    assert b"AWS_" not in media
