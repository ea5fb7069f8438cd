"""Problems in the descriptions of tracks."""

from __future__ import annotations

import pytest

from kvsproducer.cli.track_rules import track_problems
from kvsproducer.codecs.audio import PcmFormat, pcm_config
from kvsproducer.mkv.events import TrackEntry
from kvsproducer.status import StatusCode as S

# A Baseline avcC with one SPS and one PPS, of the golden data.
AVCC = bytes.fromhex("0142c00affe100146742c00ada11e840000003004000000ca3c489a801000468ce0fc8")


@pytest.mark.parametrize(
    ("codec", "private", "status"),
    [
        ("V_MPEG4/ISO/AVC", AVCC, None),
        ("V_MPEG4/ISO/AVC", b"", S.MKV_CODEC_PRIVATE_NULL),
        ("V_MPEGH/ISO/HEVC", b"", S.MKV_CODEC_PRIVATE_NULL),
        ("A_AAC", b"", S.MKV_CODEC_PRIVATE_NULL),
        ("A_AAC", b"\x11\x90", None),
        ("A_MS/ACM", b"", S.MKV_CODEC_PRIVATE_NULL),
        ("A_MS/ACM", pcm_config(PcmFormat.ALAW, 8000, 1), None),
        ("V_MPEG4/ISO/AVC", b"\0\0\0\1" + AVCC[8:28], S.MKV_INVALID_H264_H265_CPD),
        ("V_MPEG4/ISO/AVC", b"?" * 20, S.MKV_INVALID_H264_H265_SPS_NALU),
        ("V_X", b"", None),
        ("V" * 33, b"", S.MKV_INVALID_CODEC_ID_LENGTH),
    ],
)
def test_tracks(codec: str, private: bytes, status: S | None) -> None:
    """The service accepts each of them, so the problems are warnings."""
    problems = list(track_problems([TrackEntry(number=1, codec_id=codec, codec_private=private)]))
    assert [problem.status for problem in problems] == ([] if status is None else [status])
    assert not any(problem.refused for problem in problems)


def test_no_tracks() -> None:
    """The service refuses a document without Tracks."""
    (problem,) = track_problems([])
    assert (problem.status, problem.refused) == (S.TRACK_INFO_MISSING, True)
