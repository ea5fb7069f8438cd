"""A change of the parameter sets begins a new session, whose header has the new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.codecs import h264
from kvsproducer.mkv import MkvParser, NalAdaptation, TrackInfo, TrackType
from kvsproducer.mkv import events as mkv
from kvsproducer.status import KvsError, StatusCode

Desks = Callable[..., Any]
CODE = b"\0\0\0\1"
PPS = bytes.fromhex("68ce0fc8")
# from x264, for pictures of 64x48 and of 128x96
SMALL = bytes.fromhex("6742c00ada11e840000003004000000c83c489a8")
LARGE = bytes.fromhex("6742c00ada083684000003000400000300c83c489a80")
ANNEXB = NalAdaptation.ANNEXB_NALS


def key(sps: bytes | None, *more: bytes) -> bytes:
    units = ([] if sps is None else [sps, PPS]) + list(more)
    return b"".join(CODE + unit for unit in [*units, b"\x65\x88\x84"])


def documents(data: bytes) -> list[tuple[bytes, int]]:
    """Return (SPS in the header, number of clusters) of each document that an upload sent."""
    parser = MkvParser()
    parser.receive_data(data)
    found: list[tuple[bytes, int]] = []
    while (event := parser.next_event()) is not None:
        if isinstance(event, mkv.Tracks):
            record = event.entries[0].codec_private
            found.append((h264.parse_avcc(record).sps[0], 0))
        elif isinstance(event, mkv.ClusterStart):
            found[-1] = (found[-1][0], found[-1][1] + 1)
    return found


def put_all(d: Any, frames: Iterable[bytes]) -> None:
    for index, data in enumerate(frames):
        d.put(5 * index, data=data)


@pytest.mark.parametrize("given", [b"", h264.build_avcc([SMALL, PPS]), CODE + SMALL + CODE + PPS])
def test_a_change_begins_a_new_session(desk: Desks, given: bytes) -> None:
    """The first private data is given as avcC or Annex-B, or taken from the first key frame."""
    flags = ANNEXB | (NalAdaptation.ANNEXB_CPD_NALS if given.startswith(CODE) else 0)
    track = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", codec_private_data=given)
    d = desk(nal_adaptation=flags, tracks=(track,))
    put_all(d, [key(SMALL), key(SMALL), key(None), key(LARGE), key(LARGE)])
    first, status = d.read(0)
    assert documents(first) == [(SMALL, 3)]
    assert status is kvs.ReadStatus.AWAITING_PERSISTED_ACK
    for second in range(3):
        d.ack("PERSISTED", second, upload=0)
    assert d.read(0)[1] is kvs.ReadStatus.END_OF_STREAM
    assert documents(d.read(1)[0]) == [(LARGE, 2)]
    assert len([call for call in d.calls if isinstance(call, kvs.PutStream)]) == 2


def test_a_change_in_frames_with_lengths_begins_a_new_session(desk: Desks) -> None:
    """With avc3 nothing is converted, and key frames contain their sets after length fields."""

    def lengths(*units: bytes) -> bytes:
        return b"".join(len(unit).to_bytes(4) + unit for unit in units)

    idr, record = b"\x65\x88\x84", h264.build_avcc([SMALL, PPS])
    track = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", codec_private_data=record)
    d = desk(nal_adaptation=NalAdaptation.NONE, tracks=(track,))
    put_all(d, [lengths(SMALL, PPS, idr), lengths(idr), lengths(LARGE, PPS, idr), lengths(idr)])
    assert documents(d.read(0)[0]) == [(SMALL, 2)]
    for second in range(2):
        d.ack("PERSISTED", second, upload=0)
    assert d.read(0)[1] is kvs.ReadStatus.END_OF_STREAM
    assert documents(d.read(1)[0]) == [(LARGE, 2)]


def test_unchanged_sets_begin_no_session(desk: Desks) -> None:
    """They are repeated, in part, or in another order."""
    d = desk(nal_adaptation=ANNEXB)
    d.put(0, data=key(SMALL))
    d.put(5, data=CODE + PPS + CODE + SMALL + CODE + b"\x65\x88")
    d.put(10, data=CODE + PPS + CODE + b"\x65\x88")
    d.put(15, data=key(SMALL, SMALL))
    assert documents(d.read()[0]) == [(SMALL, 4)]


def test_media_sent_again_keeps_the_header_of_its_session(desk: Desks) -> None:
    """It does not get the newest header."""
    d = desk(nal_adaptation=ANNEXB)
    put_all(d, [key(SMALL), key(SMALL), key(LARGE), key(LARGE)])
    assert documents(d.read(0)[0]) == [(SMALL, 2)]
    d.ack("PERSISTED", 0, upload=0)
    d.stream.upload_ended(0, 599, d.now)
    d.settle()
    assert documents(d.read()[0]) == [(SMALL, 1)]
    newest = d.upload
    d.ack("PERSISTED", 1)
    assert d.read(newest)[1] is kvs.ReadStatus.END_OF_STREAM
    assert documents(d.read()[0]) == [(LARGE, 2)]


def test_a_refused_key_frame_with_new_sets_leaves_no_gap(desk: Desks) -> None:
    """The frame does not fit.

    No block follows without its key frame, and the next key frame has the sets.
    """
    device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=10 << 20))
    d = desk(device, nal_adaptation=ANNEXB)
    d.put(0, data=key(SMALL))
    with pytest.raises(KvsError) as caught:
        d.put(5, data=key(LARGE) + bytes(range(1, 255)) * (11 << 12))
    assert caught.value.status is StatusCode.STORE_OUT_OF_MEMORY
    d.put(6, key=False, data=CODE + b"\x41\x9a")
    assert len(d.reported(ev.FrameSkipped)) == 1
    d.put(10, data=key(LARGE))
    assert documents(d.read(0)[0]) == [(SMALL, 1)]
    d.ack("PERSISTED", 0, upload=0)
    assert d.read(0)[1] is kvs.ReadStatus.END_OF_STREAM
    assert documents(d.read()[0]) == [(LARGE, 1)]
