"""The rules of the service and the SDK, checked for each fragment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.conftest import AUDIO, CLUSTER, VIDEO, mkv

from kvsproducer.cli.inspect import inspect_file
from kvsproducer.mkv import TrackInfo, TrackType, tags


def broken_by(path: Path) -> list[list[str]]:
    """Return the statuses of each fragment, without their prefix."""
    return [
        [status.name.removeprefix("ACK_ERR_") for status, _ in fragment.problems]
        for fragment in inspect_file(str(path)).fragments
    ]


def test_fragments_after_a_refusal_are_checked_too(kvs: Any, tmp_path: Path) -> None:
    """Good ones between bad ones are good; sound is missing in two; one is too long; a tag with
    a reserved name follows the last but one, which begins a new upload, so that it may be early."""
    path = tmp_path / "mixed.mkv"
    frames = [(1, True, 0), (2, False, 10)]
    frames += [(1, True, 1000)]
    frames += [(1, True, 2000), (2, False, 2010), (1, False, 23_000)]
    frames += [(1, True, 30_000), (2, False, 30_010)]
    frames += [(1, True, 31_000)]
    good = mkv(frames, (VIDEO, AUDIO))
    early = mkv([(1, True, 500), (2, False, 510)], (VIDEO, AUDIO))
    back = early[early.index(CLUSTER) :]
    last = mkv([(1, True, 40_000), (2, False, 40_010)], (VIDEO, AUDIO))
    path.write_bytes(good + back + tags([("AWS_MINE", "")]) + last[last.index(CLUSTER) :])
    assert broken_by(path) == [
        [],
        ["FRAMES_MISSING_FOR_TRACK"],
        ["FRAGMENT_DURATION_REACHED"],
        [],
        ["FRAMES_MISSING_FOR_TRACK"],
        ["MORE_THAN_ALLOWED_TRACKS_FOUND"],  # 4012; the fragment before the tag is still open
        [],
    ]
    shown = kvs("inspect", str(path)).stdout
    assert "fragment 2 at 1.000 s: ERROR ack 4011" in shown
    assert "fragment 3 at 2.000 s: ERROR ack 4002" in shown
    listed = json.loads(kvs("inspect", str(path), "--json").stdout)["fragments"]
    assert listed[1]["problems"][0]["status"] == "STATUS_ACK_ERR_FRAMES_MISSING_FOR_TRACK"
    assert listed[0]["problems"] == []


def test_time_that_goes_back(tmp_path: Path) -> None:
    """The fragment that begins before the one before it, and no other."""
    path = tmp_path / "back.mkv"
    early = mkv([(1, True, 500)])
    late = mkv([(1, True, 3000)])
    path.write_bytes(
        mkv([(1, True, 0), (1, True, 1000)])
        + early[early.index(CLUSTER) :]
        + late[late.index(CLUSTER) :]
    )
    assert broken_by(path) == [[], [], ["FRAGMENT_TIMECODE_NOT_MONOTONIC"], []]


def test_what_the_sdk_itself_would_refuse(tmp_path: Path) -> None:
    """Frames before their key frame or without data and unreadable private data are warnings.

    The service stores them.
    """
    path = tmp_path / "sdk.mkv"
    track = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", codec_private_data=b"?" * 20)
    block = bytes.fromhex("a3 01000000000000")
    body = mkv([(1, True, 0), (1, True, 1000)], (track,))
    empty = block + bytes.fromhex("04 81 0001 00")
    early = block + bytes.fromhex("05 81 ffff 00 61")
    path.write_bytes(body + empty + early + tags([("n" * 128, "v" * 256)]))
    found = inspect_file(str(path))
    assert broken_by(path) == [[], []]
    warned = [[status.name for status, _ in fragment.warnings] for fragment in found.fragments]
    assert warned == [[], ["MKV_INVALID_FRAME_DATA", "MKV_INVALID_FRAME_TIMESTAMP"]]
    names = [status.name for status, _ in found.warnings]
    assert names[-1] == "MKV_INVALID_H264_H265_SPS_NALU"
