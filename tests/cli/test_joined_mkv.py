"""Fragments of GetMedia joined into one file that FFmpeg plays."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from botocore.session import Session

import kvsproducer as kvs
from kvsproducer.cli.joined_mkv import JoinedMkv
from kvsproducer.endpoint import LocalEndpoint
from kvsproducer.reader import Assembler


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
    return fragments_of(endpoint, source, "joined")


def test_one_header_for_all(found: list[kvs.ReadFragment], tmp_path: Path) -> None:
    """One EBML header, every packet, and FFmpeg decodes it all."""
    joined, path = JoinedMkv(), tmp_path / "out.mkv"
    data = b"".join(joined.add(fragment) for fragment in found)
    path.write_bytes(data)
    assert data.count(b"\x1a\x45\xdf\xa3") == joined.headers == 1
    assert b"AWS_KINESISVIDEO" not in data
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert packets == [bytes(f.data) for x in found for f in x.frames if f.track_number == 1]
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 75


def test_a_fragment_that_was_sent_twice_is_written_once(found: list[kvs.ReadFragment]) -> None:
    """Duplicates after a lost connection are normal in the archive, and a nuisance in a file."""
    joined = JoinedMkv()
    assert joined.add(found[0])
    assert joined.add(found[0]) == b""
    assert joined.add(found[1])
    assert joined.repeated == 1


def test_other_tracks_begin_a_new_document(
    found: list[kvs.ReadFragment], endpoint: LocalEndpoint, tmp_path: Path
) -> None:
    """When the tracks change the header comes again, and FFmpeg still opens the file."""
    others = fragments_of(endpoint, "testsrc:duration=1,size=96x64,gop=25", "joined-other")
    joined, path = JoinedMkv(), tmp_path / "out.mkv"
    path.write_bytes(b"".join(joined.add(fragment) for fragment in [*found, *others]))
    assert joined.headers == 2
    with av.open(str(path)) as container:
        assert sum(1 for packet in container.demux(video=0) if packet.size) == 100


def test_the_producer_s_metadata_stays(found: list[kvs.ReadFragment]) -> None:
    """Tags of the producer are kept, those of the service are not."""
    raw = found[0].raw
    cluster = raw.index(b"\x1f\x43\xb6\x75")
    own = kvs_tags([("door", "open"), ("AWS_KINESISVIDEO_IMAGE_GENERATION", "")])
    assembler = Assembler()
    changed = raw[:cluster] + own + raw[cluster:]
    (fragment,) = [*assembler.receive_data(changed), *assembler.receive_eof()]
    data = JoinedMkv().add(fragment)
    assert b"door" in data
    assert b"AWS_" not in data


def kvs_tags(pairs: list[tuple[str, str]]) -> bytes:
    from kvsproducer.mkv import tags

    return tags(pairs)
