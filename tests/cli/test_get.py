"""`kvs get`: a stream as a playable file or to a pipe, and when it ends."""

from __future__ import annotations

import contextlib
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from tests.cli.conftest import mkv

from kvsproducer.endpoint import Fault, LocalEndpoint, local_endpoint


@pytest.fixture(scope="module")
def stored_frames() -> int:
    return 217


@pytest.fixture
def stream(kvs: Any, clip: Path) -> str:
    """A stream with the clip in it, put once."""
    ran = kvs("get", "get-clip", "-o", "/dev/null", "--json", "--max-fragments", "1")
    if ran.exit_code:
        put = kvs("put", str(clip), "get-clip", "--start-time", "2024-01-02T03:04:05Z")
        assert put.exit_code == 0, put.stderr
    return "get-clip"


@pytest.fixture
def patient(kvs: Any, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The same at an endpoint that waits for more, as the service does."""
    with local_endpoint() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
        assert kvs("put", str(clip), "get-clip").exit_code == 0
        yield "get-clip"


def test_a_file_that_ffmpeg_plays(
    kvs: Any, stream: str, tmp_path: Path, stored_frames: int
) -> None:
    """Every frame is in it, decodes, and has its time."""
    path = tmp_path / "out.mkv"
    ran = kvs("get", stream, "-o", str(path))
    assert ran.exit_code == 0, ran.stderr
    assert f"got: {stored_frames} frames" in ran.text
    with av.open(str(path)) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]
        decoded = list(container.decode())
    assert len(decoded) == stored_frames
    first = min(frame.time for frame in decoded)
    assert first == pytest.approx(1_704_164_645, abs=0.001)


def test_a_pipe(start_kvs: Any, stream: str) -> None:
    """`-o -` writes media to standard output and everything else to standard error."""
    process = start_kvs("get", stream, "-o", "-", "--json")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert stdout.startswith(b"\x1a\x45\xdf\xa3")
    assert json.loads(stderr)["fragments"] == 3


def test_a_closed_pipe_ends_quietly(start_kvs: Any, patient: str) -> None:
    """`kvs get -o - | head -c 16` prints no error."""
    process = start_kvs("get", patient, "-o", "-")
    process.stdout.read(16)
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=30)
    assert stderr == b""
    assert process.returncode == 0


def test_bounds(kvs: Any, stream: str, tmp_path: Path) -> None:
    """--max-fragments and --duration end early, --start begins later."""
    output = ("-o", str(tmp_path / "x.mkv"), "--force")
    one = kvs("get", stream, *output, "--max-fragments", "1", "--json")
    assert json.loads(one.stdout)["fragments"] == 1
    two = kvs("get", stream, *output, "--duration", "1s", "--json")
    assert json.loads(two.stdout)["fragments"] in (1, 2)
    late = kvs("get", stream, *output, "--start", "2024-01-02T03:04:07Z", "--json")
    assert json.loads(late.stdout)["fragments"] < 3


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        ("no-such-stream", 1, "STATUS_SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR"),
        ("get-clip --start noon", 2, "STATUS_INVALID_ARG"),
        ("get-clip --duration 5", 2, "--duration 5 has no unit"),
        ("get-clip -o /nowhere/x.mkv", 1, "STATUS_WRITE_TO_FILE_FAILED"),
        ("get-clip --start 2030-01-01T00:00:00Z --idle 0.5", 1, "STATUS_NO_MORE_DATA_AVAILABLE"),
    ],
)
def test_bad_input(kvs: Any, stream: str, arguments: str, code: int, status: str) -> None:
    """Each ends in its status, on one screen."""
    ran = kvs("get", *arguments.split())
    assert ran.exit_code == code, ran.stderr
    assert status in ran.stderr
    assert "Traceback" not in ran.stderr


def test_missing_media_is_explained(kvs: Any, patient: str, tmp_path: Path) -> None:
    """The error has the service, the start, the waiting time and what to do; no file is made."""
    out = tmp_path / "x.mkv"
    ran = kvs("get", patient, "--idle", "1", "--start", "2030-01-02T03:04:05Z", "-o", str(out))
    assert ran.exit_code == 1
    assert "STATUS_NO_MORE_DATA_AVAILABLE" in ran.stderr
    assert (
        "no fragment from 2030-01-02T03:04:05Z on and sent nothing for --idle 1: read" in ran.text
    )
    assert "with --start earliest" in ran.text
    assert not out.exists()


def test_silent_service_is_named(kvs: Any, tmp_path: Path) -> None:
    """It answers GetDataEndpoint but not GetMedia."""
    with local_endpoint(faults=[Fault(on="GetMedia", do="stall", times=None)]) as endpoint:
        there = ("--endpoint-url", endpoint.url)
        put = kvs("put", "testsrc:duration=0.4,size=64x64", "mute", *there)
        ran = kvs("get", "mute", "--idle", "1", "-o", str(tmp_path / "x.mkv"), *there)
    assert put.exit_code == 0, put.stderr
    assert "STATUS_OPERATION_TIMED_OUT" in ran.stderr
    assert f"{endpoint.url} did not answer GetMedia within --idle 1:" in ran.text
    assert "Check --endpoint-url" in ran.text


def test_the_last_frame_counts(kvs: Any, tmp_path: Path) -> None:
    """Ten frames of 40 ms have the same length as when they were put."""
    put = kvs("put", "testsrc:duration=0.4,rate=25,size=64x64", "ten")
    assert " 0.400 s in 1 fragment " in put.stdout
    ran = kvs("get", "ten", "-o", str(tmp_path / "x.mkv"), "--max-fragments", "1")
    assert " 0.400 s in 1 fragment " in ran.text


def test_verbose_logs_what_is_waited_for(kvs: Any, stream: str, tmp_path: Path) -> None:
    """`-v`: each step; `-vv`: each fragment too."""
    steps = ["GetDataEndpoint", "GetMedia", "media"]
    for option, fragments in [("-v", 0), ("-vv", 3)]:
        ran = kvs("get", stream, option, "-o", str(tmp_path / "x.mkv"), "--force")
        assert [f"waiting for {step} at" in ran.text for step in steps] == [True] * 3
        assert ran.text.count(f"stream {stream}: fragment ") == fragments


def test_ctrl_c_reports_what_was_written(start_kvs: Any, patient: str, tmp_path: Path) -> None:
    """`--follow` ends with Ctrl-C."""
    out = tmp_path / "followed.mkv"
    process = start_kvs("get", patient, "--follow", "-vv", "-o", str(out))
    seen = 0
    for line in process.stderr:
        seen += b": fragment " in line
        if seen == 3:
            break
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"interrupted: 217 frames in 3 fragments are in {out}" in output.decode()


def test_a_terminal_gets_no_media(kvs: Any, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-o -` without a pipe would fill the screen with bytes."""
    monkeypatch.setattr("kvsproducer.cli.get.writes_to_terminal", lambda: True)
    ran = kvs("get", stream, "-o", "-")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "pipe it" in ran.text


def test_files_are_overwritten_only_by_force(kvs: Any, stream: str, tmp_path: Path) -> None:
    """A second call must not destroy a recording."""
    path = tmp_path / "x.mkv"
    path.write_text("mine")
    ran = kvs("get", stream, "-o", str(path))
    assert (ran.exit_code, path.read_text()) == (2, "mine")
    assert f"{path} exists already: --force overwrites it" in ran.text
    assert kvs("get", stream, "-o", str(path), "--force").exit_code == 0


def test_a_change_of_tracks(kvs: Any, start_kvs: Any, tmp_path: Path) -> None:
    """A file for each, named in the result; a pipe is warned before the second begins."""
    for size in ("64x64", "96x64"):
        put = kvs("put", f"testsrc:duration=1,size={size}", "change")
        assert put.exit_code == 0, put.stderr
    ran = kvs("get", "change", "-o", str(tmp_path / "x.mkv"))
    assert f"-> {tmp_path / 'x.mkv'}, {tmp_path / 'x-2.mkv'}" in ran.text
    for name, width in (("x.mkv", 64), ("x-2.mkv", 96)):
        with av.open(str(tmp_path / name)) as container:
            assert {picture.width for picture in container.decode(video=0)} == {width}
    process = start_kvs("get", "change", "-o", "-")
    _, stderr = process.communicate(timeout=30)
    assert b"warning: the tracks change here" in stderr


@pytest.fixture
def relative(endpoint: LocalEndpoint) -> str:
    """A stream whose times count from 2024-01-02T03:04:05Z, without codec private data."""
    headers = {
        "x-amzn-stream-name": "relative",
        "x-amzn-producer-start-timestamp": "1704164645.000",
        "x-amzn-fragment-timecode-type": "RELATIVE",
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240102/us-west-2/kinesisvideo/"
        "aws4_request, SignedHeaders=host, Signature=00",
    }
    stream = json.dumps({"StreamName": "relative", "DataRetentionInHours": 2}).encode()
    create = urllib.request.Request(f"{endpoint.url}/createStream", stream, headers)
    with contextlib.suppress(urllib.error.HTTPError):  # it exists
        urllib.request.urlopen(create, timeout=10).close()
    body = mkv([(1, True, 0), (1, False, 40)])
    put = urllib.request.Request(f"{endpoint.url}/putMedia", body, headers)
    with urllib.request.urlopen(put, timeout=10) as acks:
        assert b"PERSISTED" in acks.read()
    return "relative"


def test_times_of_a_relative_stream(kvs: Any, relative: str, tmp_path: Path) -> None:
    """Its block times are relative to the upload; the output has the producer's time."""
    ran = kvs("get", relative, "-o", str(tmp_path / "x.mkv"))
    assert "from 2024-01-02T03:04:05.000Z" in ran.text


def test_missing_codec_private_data_is_mentioned(kvs: Any, relative: str, tmp_path: Path) -> None:
    """Most players show nothing then, so there is a warning."""
    ran = kvs("get", relative, "-o", str(tmp_path / "x.mkv"))
    assert "warning: track 1: V_MPEG4/ISO/AVC without codec private data" in ran.text
