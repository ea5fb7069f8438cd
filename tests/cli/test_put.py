"""`kvs put` against the real local endpoint, and every kind of bad input."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from kvsproducer.endpoint import Fault, local_endpoint
from kvsproducer.sources.pyav import write_clip
from kvsproducer.sources.spec import PatternSpec


def test_a_file_is_put(kvs: Any, clip: Path) -> None:
    """Exit 0, and one line that says what was stored."""
    ran = kvs("put", str(clip), "put-file", "--retention", "24h")
    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout.startswith("stored: 217 frames")
    assert "3 fragments of put-file" in ran.stdout


def test_json(kvs: Any, clip: Path) -> None:
    """--json is the result and nothing else, on standard output."""
    ran = kvs("put", str(clip), "put-json", "--retention", "2h", "--json", "--tracks", "video")
    found = json.loads(ran.stdout)
    assert (found["frames"], found["fragments"], found["skipped"]) == (75, 3, 0)
    assert found["latency_ms"] > 0


def test_start_time(kvs: Any, clip: Path, tmp_path: Path) -> None:
    """--start-time places the first frame in time."""
    kvs("put", str(clip), "put-start", "--start-time", "2024-01-02T03:04:05Z")
    ran = kvs("get", "put-start", "-o", str(tmp_path / "x.mkv"), "--json", "--max-fragments", "1")
    assert json.loads(ran.stdout)["start"] == "2024-01-02T03:04:05.000Z"


def test_standard_input(start_kvs: Any, clip: Path, tmp_path: Path) -> None:
    """A TS through a pipe: `... | kvs put - STREAM`."""
    ts = tmp_path / "clip.ts"
    with av.open(str(clip)) as read, av.open(str(ts), "w") as written:
        streams = {s.index: written.add_stream_from_template(s) for s in read.streams}
        for packet in read.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
    process = start_kvs("put", "-", "put-pipe", "--json", stdin=subprocess.PIPE)
    stdout, stderr = process.communicate(ts.read_bytes(), timeout=60)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["frames"] == 217


def test_ctrl_c_waits_for_the_acks_and_exits_130(start_kvs: Any) -> None:
    """Frames that were put before Ctrl-C are stored and reported; there is no traceback."""
    source = "testsrc:duration=0,size=64x64,gop=10"
    process = start_kvs("put", source, "put-ctrl-c", "--mode", "realtime")
    assert b" frame" in process.stderr.readline()  # the first progress line: it is running
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # an echo, as `timeout` and shells send it
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    output = " ".join(stderr.decode().split())
    assert "interrupted" in output
    assert "frames that were put are stored" in output
    assert "Traceback" not in output


def test_ctrl_c_while_standard_input_is_silent(start_kvs: Any, clip: Path, tmp_path: Path) -> None:
    """A pipe without further data does not delay Ctrl-C."""
    ts = tmp_path / "clip.ts"
    write_clip(str(ts), PatternSpec(Fraction(3), width=64, height=64, gop=25))
    process = start_kvs("put", "-", "put-silent", "-vv", stdin=subprocess.PIPE)
    process.stdin.write(ts.read_bytes())
    process.stdin.flush()
    stored = 0
    while stored < 2:  # the third fragment is put, and stays open for what does not come
        line = process.stderr.readline()
        assert line, "it has ended"
        stored += b"PERSISTED" in line
    process.send_signal(signal.SIGINT)
    process.wait(30)
    output = " ".join(process.stderr.read().decode().split())
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert "Traceback" not in output


@pytest.fixture
def bad(tmp_path: Path, clip: Path) -> dict[str, str]:
    """Paths of bad files by what is wrong with them."""
    data = clip.read_bytes()
    files = {
        "text.mp4": b"no media at all\n" * 20,
        "empty.mp4": b"",
        "cut.mp4": data[: len(data) // 2],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with av.open(str(tmp_path / "mpeg4.mkv"), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        output.mux([*stream.encode(av.VideoFrame(64, 64, "yuv420p")), *stream.encode(None)])
    names = [*files, "mpeg4.mkv", "missing.mp4"]
    return {name: str(tmp_path / name) for name in names} | {"folder": str(tmp_path)}


BAD_INPUT = [
    # source, further options, exit code, status, words
    ("missing.mp4", "", 1, "STATUS_OPEN_FILE_FAILED", "there is no such file"),
    ("folder", "", 1, "STATUS_OPEN_FILE_FAILED", "it is a folder"),
    ("text.mp4", "", 1, "STATUS_FORMAT_ERROR", "text.mp4"),
    ("empty.mp4", "", 1, "STATUS_FORMAT_ERROR", "is empty"),
    ("cut.mp4", "", 1, "STATUS_UNEXPECTED_EOF", "is truncated at byte"),
    ("mpeg4.mkv", "", 1, "STATUS_FORMAT_ERROR", "video codec is MPEG-4 Part 2; KVS plays H.264"),
    ("testsrc:size=64x64", "--tracks audio", 1, "STATUS_TRACK_INFO_MISSING", "no audio track"),
    ("rtsp://camera/1", "", 2, "STATUS_NOT_IMPLEMENTED", "not supported yet"),
    ("/dev/video0", "", 2, "STATUS_NOT_IMPLEMENTED", "not supported yet"),
    ("testsrc:colour=red", "", 2, "STATUS_INVALID_ARG", "no option 'colour'"),
    ("testsrc:", "--tag =x", 2, "INVALID_ARG", "NAME=VALUE"),
    ("testsrc:", "--tag a=1 --tag a=2", 2, "INVALID_ARG", "given before"),
    ("testsrc:", "--retention 24", 2, "24 has no unit", "24h"),
    ("testsrc:", "--retention 10m", 2, "STATUS_INVALID_RETENTION_PERIOD", ""),
    ("testsrc:", "--start-time noon", 2, "STATUS_INVALID_ARG", "noon"),
    ("testsrc:", "--tag x", 2, "STATUS_INVALID_ARG", "NAME=VALUE"),
    ("testsrc:", "--retention 0 --mode offline", 2, "OFFLINE_MODE_WITH_ZERO_RETENTION", ""),
    ("testsrc:", "--frame-rate 30", 2, "STATUS_INVALID_ARG", "--frame-rate 30 is for raw H.264"),
    ("testsrc:", "--profile missing", 2, "STATUS_INVALID_ARG", "missing"),
    ("testsrc:duration=25,rate=5,size=64x64,gop=1000", "--mode offline", 1,
     "STATUS_ACK_ERR_FRAGMENT_DURATION_REACHED", "no key frame came"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "options", "code", "status", "words"), BAD_INPUT)
def test_bad_input(
    kvs: Any, bad: dict[str, str], source: str, options: str, code: int, status: str, words: str
) -> None:
    """Each ends in its status, cause and action on one screen, with the right exit code."""
    ran = kvs("put", bad.get(source, source), "put-bad", *options.split())
    assert ran.exit_code == code, ran.stderr
    assert status in ran.stderr
    assert words in ran.text
    assert " do " in ran.text or "STATUS_INVALID_ARG" in ran.text  # whose detail says it
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) < 24


def test_ctrl_c_before_the_first_frame_says_so(start_kvs: Any) -> None:
    """The service does not answer; the message says that nothing was put."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.settimeout(60)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        process = start_kvs("put", "testsrc:", "early", "--endpoint-url", url)
        connection, _ = deaf.accept()
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == 130
    assert output.decode().splitlines()[-1] == "interrupted: nothing was put"


def test_an_empty_name_is_bad_usage(kvs: Any) -> None:
    """For example an unset shell variable; no stream with another name is created."""
    for command in (["put", "testsrc:duration=0.1"], ["get"]):
        ran = kvs(*command, "")
        assert ran.exit_code == 2
        assert "STREAM is empty" in ran.text


def test_what_came_before_a_too_long_group_is_stored(kvs: Any, tmp_path: Path) -> None:
    """The frames before the 20 s limit are in the stream."""
    source = "testsrc:duration=25,rate=5,size=64x64,gop=1000"
    ran = kvs("put", source, "put-long", "--mode", "offline")
    assert "101 of 101 frames that were put are stored" in ran.text
    assert "24 of 125 frames cannot be put: 24 pictures from 20.200 s on" in ran.text
    got = kvs("get", "put-long", "-o", str(tmp_path / "x.mkv"), "--json", "--max-fragments", "1")
    assert json.loads(got.stdout)["frames"] == 101


def test_no_credentials(kvs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any credentials the error says so, at once."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    began = time.monotonic()
    ran = kvs("put", "testsrc:duration=1,size=64x64", "put-without-keys")
    assert ran.exit_code == 1
    assert "credentials" in ran.text.lower()
    assert time.monotonic() - began < 20


@pytest.mark.usefixtures("quick_retries")
def test_refused_connection(kvs: Any) -> None:
    """The error has a status, the address and exit code 1, after the retries."""
    url = "http://127.0.0.1:9"
    ran = kvs("put", "testsrc:duration=1,size=64x64", "put-refused", "--endpoint-url", url)
    assert ran.exit_code == 1
    assert "STATUS_" in ran.stderr
    assert url in ran.text


@pytest.mark.usefixtures("quick_retries")
def test_a_role_that_may_not_describe_streams(kvs: Any) -> None:
    """`--caching endpoint-only` does not make the forbidden calls; the stream exists."""
    refused = Fault(
        on="DescribeStream", do="status", status=403, error="AccessDeniedException",
        skip=1, times=None,
    )  # fmt: skip
    with local_endpoint(faults=[refused]) as endpoint:
        words = ("put", "testsrc:duration=1,size=64x48", "door", "-q")
        words += ("--endpoint-url", endpoint.url, "--retention", "1h")
        assert kvs(*words).exit_code == 0
        ran = kvs(*words, "--caching", "endpoint-only")
        assert ran.exit_code == 0, ran.stderr
        assert "AccessDenied" in kvs(*words).stderr
        assert kvs(*words, "--caching", "some").exit_code == 2


def test_a_put_that_failed_is_resumed(kvs: Any, clip: Path) -> None:
    """The error says how; then the rest is stored, and after that there is nothing left.

    The connection stalls in the second of three fragments of about 42,000 bytes.
    """
    stall = Fault(on="PutMedia", do="stall", after_bytes=50_000, seconds=60)
    with local_endpoint(faults=[stall]) as endpoint:
        put = ("put", str(clip), "resumed", "--endpoint-url", endpoint.url)
        ran = kvs(*put, "--timeout", "5", "--mode", "offline")
        assert ran.exit_code == 1
        assert "of 217 frames of" in ran.text
        found = re.search(r"the same command with --start-time (\S+) --resume", ran.text)
        assert found, ran.text
        again = ("--start-time", found[1], "--resume", "--json")
        result = json.loads(kvs(*put, *again).stdout)
        assert result["frames"] + result["resumed"] == 217
        assert result["resumed"] > 0
        result = json.loads(kvs(*put, *again).stdout)
        assert (result["frames"], result["resumed"]) == (0, 217)
        ran = kvs(*put, *again[:-1])
        assert ran.exit_code == 0
        assert "stored before: 217 frames of resumed" in ran.stdout


def test_resume_needs_the_start_time(kvs: Any, clip: Path) -> None:
    ran = kvs("put", str(clip), "never-put", "--resume")
    assert ran.exit_code == 2
    assert "--start-time" in ran.text


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up")],
)
def test_signals_that_end_a_put_store_what_was_put(
    start_kvs: Any, number: signal.Signals, code: int, word: str
) -> None:
    """As Ctrl-C does, with an exit code of their own."""
    source = "testsrc:duration=0,size=64x64,gop=10"
    process = start_kvs("put", source, f"put-{code}", "--mode", "realtime")
    assert b" frame" in process.stderr.readline()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    output = " ".join(stderr.decode().split())
    assert re.search(rf"{word}: (\d+) of \1 frames that were put are stored", output), output
    assert "Traceback" not in output


def test_a_put_under_nohup_outlives_its_terminal(start_kvs: Any) -> None:
    """A SIGHUP that is ignored when the command starts stays ignored."""
    process = start_kvs(
        "put",
        "testsrc:duration=3,size=64x64,gop=10",
        "put-nohup",
        "--mode",
        "realtime",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert b" frame" in process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert b"stored: 75 frames" in stdout


def test_a_damaged_file_that_was_read_to_its_end_is_not_resumed(
    kvs: Any, clip: Path, tmp_path: Path
) -> None:
    """The same command would fail in the same way."""
    cut = tmp_path / "cut.ts"
    with av.open(str(clip)) as source, av.open(str(cut), "w", format="mpegts") as target:
        streams = {one: target.add_stream_from_template(one) for one in source.streams.video}
        for packet in source.demux(*streams):
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    data = bytearray(cut.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle + 4 : middle + 2000] = bytes(1996)
    cut.write_bytes(data)
    with local_endpoint() as endpoint:
        ran = kvs("put", str(cut), "damaged", "--endpoint-url", endpoint.url)
    assert ran.exit_code == 1
    assert "are stored" in ran.text
    assert "--resume" not in ran.text


def test_metrics_host(start_kvs: Any) -> None:
    """--metrics-host; an address that is not this machine's is refused at once."""
    with local_endpoint() as endpoint:
        words = ("put", "testsrc:duration=1,size=64x48", "door", "--endpoint-url", endpoint.url)
        wrong = start_kvs(*words, "--metrics-port", "0", "--metrics-host", "192.0.2.1")
        _, output = wrong.communicate(timeout=60)
        assert wrong.returncode == 1
        assert "cannot listen on 192.0.2.1" in " ".join(str(output).split())
        fine = start_kvs(*words, "--metrics-port", "0", "--metrics-host", "127.0.0.2")
        _, output = fine.communicate(timeout=60)
        assert fine.returncode == 0, output
