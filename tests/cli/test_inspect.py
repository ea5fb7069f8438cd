"""`kvs inspect`: contents of a file, and what KVS would refuse about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import AUDIO, VIDEO, mkv

from kvsproducer.cli.inspect import inspect_file
from kvsproducer.mkv import MkvGenerator, TrackInfo, TrackType, tags
from kvsproducer.mkv import elements as el
from kvsproducer.mkv.ebml import element, id_bytes
from kvsproducer.mkv.header import EBML_HEADER
from kvsproducer.status import StatusCode

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
    assert "KVS would accept it" in shown.stdout
    assert "2023-11-14T22:13:20.000Z" in shown.stdout


def test_tags_are_shown_as_they_are(kvs: Any, tmp_path: Path) -> None:
    """Brackets are not markup, and control characters are escaped."""
    path = tmp_path / "tagged.mkv"
    path.write_bytes(mkv(GOOD, metadata=tags([("[/b]", "\x1b")])))
    ran = kvs("inspect", str(path))
    assert ran.exit_code == 0
    assert "[/b]=\\x1b" in ran.stdout


def test_nothing_is_cut_off(tmp_path: Path) -> None:
    """Neither long tags nor columns, in a pipe and in a terminal of 40 columns."""
    path = tmp_path / "long.mkv"
    pairs = [("n" * 124 + "END1", "v" * 252 + "END2"), ("words", "x y " * 60 + "END3")]
    path.write_bytes(mkv(GOOD, metadata=tags(pairs)))
    command = [sys.executable, "-m", "kvsproducer", "inspect", str(path)]
    piped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    narrow = terminal_output(command, 40)
    for shown in (piped, narrow):
        assert all(f"{name}={value}" in shown for name, value in pairs)
        for words in ("V_MPEG4/ISO/AVC", "codec private", "0.960 s", "1: 25", "length", "KVS"):
            assert words in shown, words
        assert "…" not in shown


def terminal_output(command: list[str], columns: int) -> str:
    """What a command writes to a terminal of so many columns, without its colours."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"TERM": "xterm"}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    written = b""
    try:
        while data := os.read(ours, 1 << 16):
            written += data
    except OSError:
        pass  # Linux reports the end of the other side as EIO
    finally:
        os.close(ours)
        assert process.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", written.decode())


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
    ("not Matroska", b"hello world, it is text\n" * 9, StatusCode.ACK_ERR_INVALID_MKV_DATA, "4006"),
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


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"hello world, it is text\n" * 9, "outside a Segment"),
        (b"\0\0\0\x20ftypisom", "byte 0x00 does not begin an element id"),
        (EBML_HEADER.replace(b"matroska", b"unknown!"), "DocType is 'unknown!'"),
        (b"", "the file is empty"),
    ],
)
def test_file_that_is_not_matroska_takes_one_line(
    kvs: Any, tmp_path: Path, data: bytes, why: str
) -> None:
    """There are no empty tables, one reason, and exit code 1; the same with --json."""
    path = tmp_path / "other.mkv"
    path.write_bytes(data)
    ran = kvs("inspect", str(path))
    assert ran.exit_code == 1
    (line,) = ran.stdout.splitlines()
    assert "not Matroska: STATUS_ACK_ERR_INVALID_MKV_DATA 0x52000062" in line
    assert why in line
    ran = kvs("inspect", str(path), "--json")
    assert ran.exit_code == 1
    (problem,) = json.loads(ran.stdout)["problems"]
    assert why in problem["what"]


def test_a_head_without_fragments(kvs: Any, tmp_path: Path) -> None:
    """Nothing in it would be refused, and nothing stored."""
    path = tmp_path / "head.mkv"
    path.write_bytes(MkvGenerator([VIDEO], content_type="video/h264").header())
    ran = kvs("inspect", str(path))
    assert ran.exit_code == 0
    assert "KVS would store nothing" in ran.stdout
    assert "fragments:" not in ran.stdout


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (element(el.TRACKS, b""), "no track"),
        (b"", "a Cluster before Tracks"),
        (element(el.INFO, element(el.TIMECODE_SCALE, b"\x01")), "timecode scale 1"),
    ],
)
def test_problem_of_the_header_is_shown_for_every_fragment(
    tmp_path: Path, head: bytes, words: str
) -> None:
    path = tmp_path / "head.mkv"
    block = element(el.SIMPLE_BLOCK, b"\x81\0\0\x80data")
    clusters = [
        element(el.CLUSTER, element(el.TIMECODE, bytes((second,))) + block) for second in range(3)
    ]
    segment = id_bytes(el.SEGMENT) + b"\xff"
    path.write_bytes(EBML_HEADER + segment + head + b"".join(clusters))
    found = inspect_file(str(path))
    assert len(found.fragments) == 3
    for fragment in found.fragments:
        (problem,) = fragment.problems
        assert problem[0] is StatusCode.ACK_ERR_INVALID_MKV_DATA
        assert words in problem[1]


def test_response_of_get_media(kvs: Any, tmp_path: Path) -> None:
    """It has a document for each fragment with the service's tags; nothing is refused."""
    path = tmp_path / "answer.mkv"
    service = "AWS_KINESISVIDEO_"
    small, large = VIDEO, TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", width=96, height=64)
    answer = b""
    for second, track in ((0, small), (1, small), (2, large)):
        before = tags([(service + "FRAGMENT_NUMBER", "91"), ("door", "open" * 50)])
        after = tags([(service + "CONTINUATION_TOKEN", "91")])
        answer += mkv([(1, True, second * 1000)], (track,), before) + after
    path.write_bytes(answer)
    ran = kvs("inspect", str(path))
    assert ran.exit_code == 0, ran.stdout
    assert "This is a response of GetMedia: 3 MKV documents." in ran.stdout
    assert "tracks from document 3 on" in ran.stdout
    assert f"door={'open' * 50}" in ran.stdout
    found = json.loads(kvs("inspect", str(path), "--json").stdout)
    assert (found["documents"], found["get_media_answer"]) == (3, True)
    assert [(t["document"], t["width"]) for t in found["tracks"]] == [(1, 64), (3, 96)]
    assert [f["problems"] for f in found["fragments"]] == [[]] * 3
    assert found["fragments"][2]["tags"][service + "CONTINUATION_TOKEN"] == "91"


def test_reserved_tags_of_others_are_refused(kvs: Any, tmp_path: Path) -> None:
    """Only the tags that GetMedia adds are ignored."""
    path = tmp_path / "answer.mkv"
    before = tags([("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "91"), ("AWS_MINE", "1")])
    path.write_bytes(mkv([(1, True, 0)], metadata=before))
    ran = kvs("inspect", str(path))
    assert ran.exit_code == 1
    assert "the tag name 'AWS_MINE' is reserved" in ran.stdout


def test_documents_of_a_file_are_all_shown(kvs: Any, tmp_path: Path) -> None:
    """PutMedia accepts one for each connection; the tracks of both are listed."""
    path = tmp_path / "two.mkv"
    path.write_bytes(mkv(GOOD) + mkv(GOOD, (VIDEO, AUDIO)))
    ran = kvs("inspect", str(path))
    assert ran.exit_code == 1
    assert "The file has 2 MKV documents" in ran.stdout
    assert "tracks from document 2 on" in ran.stdout
    assert len(json.loads(kvs("inspect", str(path), "--json").stdout)["fragments"]) == 6


def test_warnings_refuse_nothing(kvs: Any, tmp_path: Path) -> None:
    """Media that KVS stores but players do not show gives exit code 0 and a warning."""
    path = tmp_path / "bare.mkv"
    path.write_bytes(mkv(GOOD))
    ran = kvs("inspect", str(path))
    assert ran.exit_code == 0
    assert "warning: STATUS_MKV_CODEC_PRIVATE_NULL 0x32000009: track 1:" in ran.stdout
    assert "KVS would accept it" in ran.stdout
