"""`kvs inspect`: contents of a file, and what KVS would refuse about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kvsproducer.cli.inspect import inspect_file
from kvsproducer.mkv import FrameFlags, MkvGenerator, TrackInfo, TrackType, tags
from kvsproducer.status import StatusCode

MS = 10_000
CLUSTER = bytes.fromhex("1f43b675")
VIDEO = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", width=64, height=64)
AUDIO = TrackInfo(2, TrackType.AUDIO, "A_AAC")


def mkv(
    frames: list[tuple[int, bool, int]],
    tracks: tuple[TrackInfo, ...] = (VIDEO,),
    metadata: bytes = b"",
) -> bytes:
    """Frames as (track id, key, ms), packed as a producer does; `metadata` before cluster one."""
    generator = MkvGenerator(
        tracks, content_type="video/h264", key_frame_fragmentation=True,
        fragment_duration=20_000 * MS, absolute_timecodes=True,
    )  # fmt: skip
    out = b""
    for track, key, time in frames:
        flags = int(FrameFlags.KEY) if key else 0
        packed = generator.pack(track, flags, time * MS, time * MS, 40 * MS, 4)
        header, cut = packed.header, packed.prefix_length
        out += header[:cut] + (metadata if cut else b"") + header[cut:] + b"data"
    return out


GOOD = [(1, n % 25 == 0, 1_700_000_000_000 + 40 * n) for n in range(75)]


def test_a_good_file(kvs: Any, tmp_path: Path) -> None:
    """Tracks, fragments and tags are shown, nothing is refused, exit 0."""
    path = tmp_path / "good.mkv"
    path.write_bytes(mkv(GOOD, metadata=tags([("door", "open")])))
    ran = kvs("inspect", str(path), "--json")
    assert ran.exit_code == 0
    found = json.loads(ran.stdout)
    assert found["problems"] == []
    assert [t["codec_id"] for t in found["tracks"]] == ["V_MPEG4/ISO/AVC"]
    assert [f["frames"] for f in found["fragments"]] == [{"1": 25}] * 3
    assert found["fragments"][0]["tags"] == {"door": "open"}
    assert found["fragments"][0]["duration_ms"] == 960
    shown = kvs("inspect", str(path))
    assert shown.exit_code == 0
    assert "KVS would take it" in shown.stdout
    assert "2023-11-14T22:13:20.000Z" in shown.stdout


BAD = [
    # what, bytes, status, words
    ("sound is missing", mkv([(1, True, 0), (2, False, 10), (1, True, 1000), (1, True, 2000),
                              (2, False, 2010)], (VIDEO, AUDIO)),
     StatusCode.ACK_ERR_FRAMES_MISSING_FOR_TRACK, "4011"),
    ("over 20 s", mkv([(1, n == 0, 500 * n) for n in range(45)]),
     StatusCode.ACK_ERR_FRAGMENT_DURATION_REACHED, "4002"),
    ("metadata of AWS's", mkv(GOOD, metadata=tags([("AWS_MINE", "1")])), None, "4012"),
    ("too much metadata", mkv(GOOD, metadata=tags([(f"n{i}", "") for i in range(11)])),
     StatusCode.ACK_ERR_FRAGMENT_METADATA_LIMIT_REACHED, "4009"),
    ("two documents", mkv(GOOD) + mkv(GOOD), StatusCode.ACK_ERR_INVALID_MKV_DATA, "4006"),
    ("no Matroska", b"hello world, it is text\n" * 9, StatusCode.ACK_ERR_INVALID_MKV_DATA, "4006"),
    ("four tracks", mkv([(1, True, 0)], tuple(TrackInfo(n, TrackType.VIDEO, "V_X")
                                              for n in range(1, 5))), None, "4005"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "data", "status", "words"), BAD, ids=[b[0] for b in BAD])
def test_what_kvs_would_refuse(
    kvs: Any, tmp_path: Path, what: str, data: bytes, status: StatusCode | None, words: str
) -> None:
    """The first refusal comes with the ack error that the service gives, and exit 1."""
    path = tmp_path / "bad.mkv"
    path.write_bytes(data)
    ran = kvs("inspect", str(path))
    assert ran.exit_code == 1, what
    assert f"ERROR ack {words}" in ran.stdout
    first, text = inspect_file(str(path)).problems[0]
    assert words in text
    if status is not None:
        assert first is status
        assert f"STATUS_{status.name}" in ran.stdout


def broken_by(path: Path) -> list[list[str]]:
    """The statuses of each fragment, without their prefix."""
    return [
        [status.name.removeprefix("ACK_ERR_") for status, _ in fragment.problems]
        for fragment in inspect_file(str(path)).fragments
    ]


def test_each_fragment_is_judged_also_after_a_refusal(kvs: Any, tmp_path: Path) -> None:
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
    """Frames before their key frame, frames without data, odd tags, unreadable private data."""
    path = tmp_path / "sdk.mkv"
    track = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", codec_private_data=b"?" * 20)
    block = bytes.fromhex("a3 01000000000000")
    body = mkv([(1, True, 0), (1, True, 1000)], (track,))
    empty = block + bytes.fromhex("04 81 0001 00")
    early = block + bytes.fromhex("05 81 ffff 00 61")
    path.write_bytes(body + empty + early + tags([("n" * 128, "v" * 256)]))
    assert broken_by(path) == [[], ["MKV_INVALID_FRAME_DATA", "MKV_INVALID_FRAME_TIMESTAMP"]]
    names = [status.name for status, _ in inspect_file(str(path)).problems]
    assert names[-1] == "MKV_INVALID_H264_H265_SPS_NALU"


def test_a_cut_file_is_shown_up_to_the_cut(kvs: Any, tmp_path: Path) -> None:
    """Damage names its byte; what is before it is listed."""
    path = tmp_path / "cut.mkv"
    path.write_bytes(mkv(GOOD)[:-2])
    found = json.loads(kvs("inspect", str(path), "--json").stdout)
    assert len(found["fragments"]) == 3
    assert found["problems"]


def test_no_such_file(kvs: Any) -> None:
    """A status, not a traceback."""
    ran = kvs("inspect", "/nowhere/x.mkv")
    assert ran.exit_code == 1
    assert "STATUS_OPEN_FILE_FAILED" in ran.stderr
