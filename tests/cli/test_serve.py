"""`kvs serve` as a process: its first line, its data, its end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import av
import boto3
import pytest
from botocore.exceptions import ClientError

from kvsproducer.cli.options import instant_option
from kvsproducer.codecs.nal import annexb_to_avcc
from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.sources import open_source


def listening(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    assert re.fullmatch(r"listening on http://127\.0\.0\.1:[1-9]\d*\n", line), line
    return line.split()[-1]


def test_data_survives_a_restart(kvs: Any, start_kvs: Any, clip: Path, tmp_path: Path) -> None:
    """Fragments that were PERSISTED are there after a restart."""
    data = str(tmp_path / "data")
    first = start_kvs("serve", "--port", "0", "--data", data)
    put = kvs("put", str(clip), "kept", "--endpoint-url", listening(first))
    assert put.exit_code == 0, put.stderr
    first.send_signal(signal.SIGINT)
    _, stderr = first.communicate(timeout=20)
    assert (first.returncode, stderr.decode().strip()) == (0, "stopped")

    second = start_kvs("serve", "--port", "0", "--data", data)
    path = str(tmp_path / "x.mkv")
    there = ("--endpoint-url", listening(second))
    got = kvs("get", "kept", "-o", path, "--json", "--max-fragments", "3", *there)  # all
    assert json.loads(got.stdout)["frames"] == 217
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 0


def test_a_killed_endpoint_costs_no_frame(kvs: Any, start_kvs: Any, tmp_path: Path) -> None:
    """SIGKILL in the middle of an upload, restart: every frame arrives exactly as it was put."""
    source, start = "testsrc:duration=4,size=64x64,gop=25,audio=1,bframes=2", "2024-01-01T00:00:00Z"
    data = str(tmp_path / "data")
    first = start_kvs("serve", "--port", "0", "--data", data)
    url = listening(first)
    put = start_kvs("put", source, "cut-off", "--start-time", start, "--endpoint-url", url)
    assert re.search(rb" [1-3] PERSISTED", put.stderr.readline() + put.stderr.readline())
    first.kill()
    first.wait()
    port = url.rpartition(":")[2]
    assert listening(start_kvs("serve", "--port", port, "--data", data)) == url
    _, stderr = put.communicate(timeout=60)
    assert put.returncode == 0, stderr

    path = tmp_path / "x.mkv"
    kvs("get", "cut-off", "-o", str(path), "--endpoint-url", url)
    with open_source(source, start=instant_option(start)) as expected:
        frames = [
            (f.track_id, f.pts // TICKS_PER_MS, b"".join(annexb_to_avcc(f.data)[0]))
            if f.track_id == 1
            else (f.track_id, f.pts // TICKS_PER_MS, f.data)
            for f in expected.frames()
        ]
    with av.open(str(path)) as container:
        packets = [(p.stream.index + 1, p.pts, bytes(p)) for p in container.demux() if p.size]
    assert sorted(set(packets)) == sorted(frames)


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("option", ["-v", "-vv"])
def test_verbose_twice_shows_acks_and_stored_fragments(
    kvs: Any, start_kvs: Any, clip: Path, option: str
) -> None:
    """Once shows the requests only."""
    served = start_kvs("serve", "--port", "0", option)
    put = kvs("put", str(clip), "seen", "--endpoint-url", listening(served))
    assert put.exit_code == 0, put.stderr
    served.send_signal(signal.SIGINT)
    log = served.communicate(timeout=20)[1].decode()
    assert "POST PutMedia seen: 200" in log
    acks = re.findall(r"stream/seen/\d+: ack .*\"EventType\": *\"(\w+)\"", log)
    stored = re.findall(r"stream/seen/\d+: stored fragment \d+", log)
    if option == "-v":
        assert acks == stored == []
    else:
        assert {"BUFFERING", "RECEIVED", "PERSISTED"} <= set(acks)
        assert len(stored) == acks.count("PERSISTED")


def test_signatures(kvs: Any, start_kvs: Any, monkeypatch: Any) -> None:
    """--verify-signatures refuses other keys, with 403 as AWS does."""
    url = listening(start_kvs("serve", "--port", "0", "--verify-signatures"))
    good = kvs("put", "testsrc:duration=1,size=64x64", "s", "--endpoint-url", url)
    assert good.exit_code == 0, good.stderr
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    bad = kvs("put", "testsrc:duration=1,size=64x64", "s", "--endpoint-url", url)
    assert bad.exit_code == 1
    assert "403" in bad.text or "NOT_AUTHORIZED" in bad.text


@pytest.mark.parametrize("given", [(), ("--region", "eu-west-1")])
def test_signatures_are_for_one_region(
    start_kvs: Any, given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the given region or that of the shell; the streams are in it too."""
    if not given:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    url = listening(start_kvs("serve", "--port", "0", "--verify-signatures", *given))
    here, there = (
        boto3.client("kinesisvideo", region_name=name, endpoint_url=url)
        for name in ("eu-west-1", "us-west-2")
    )
    assert ":eu-west-1:" in here.create_stream(StreamName="s", MediaType="video/h264")["StreamARN"]
    with pytest.raises(ClientError, match="scoped to a valid region, here 'eu-west-1'") as caught:
        there.describe_stream(StreamName="s")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_taken_port(kvs: Any) -> None:
    """The error has a status and exit code 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = kvs("serve", "--port", str(taken.getsockname()[1]))
    assert ran.exit_code == 1
    assert "STATUS_INVALID_OPERATION" in ran.stderr
    assert "in use" in ran.text


def test_a_folder_that_is_a_file(kvs: Any, tmp_path: Path) -> None:
    """Its own status, exit 1."""
    file = tmp_path / "file"
    file.touch()
    ran = kvs("serve", "--port", "0", "--data", str(file))
    assert ran.exit_code == 1
    assert "STATUS_DIRECTORY_OPEN_FAILED" in ran.stderr


def test_https_with_a_certificate_of_its_own(kvs: Any, start_kvs: Any, tmp_path: Path) -> None:
    """The second line of standard error can be pasted into a shell; -v logs each request."""
    folder = tmp_path / "ca"
    served = start_kvs("serve", "--port", "0", "--tls-self-signed", str(folder), "-v")
    url = served.stdout.readline().decode().split()[-1]
    assert url.startswith("https://127.0.0.1:")
    source = "testsrc:duration=1,size=64x64"
    put = kvs("put", source, "door", "--endpoint-url", url, "--ca-bundle", str(folder / "ca.pem"))
    assert put.exit_code == 0, put.stderr
    distrustful = kvs("put", source, "door", "--endpoint-url", url, "--timeout", "1")
    assert distrustful.exit_code == 1
    served.terminate()
    _, stderr = served.communicate(timeout=20)
    assert served.returncode == 0
    lines = stderr.decode().splitlines()
    assert lines[1] == f"  export AWS_CA_BUNDLE='{folder / 'ca.pem'}'"
    assert lines[-1] == "stopped"
    said = stderr.decode()
    assert re.search(r"INFO .*: POST CreateStream door: 200 in \d\.\d{3} s\n", said)
    assert re.search(r"INFO .*: POST PutMedia door: 200 in \d\.\d{3} s\n", said)


def test_tls_options_that_do_not_fit(kvs: Any, tmp_path: Path) -> None:
    for options, why in (
        (("--tls-key", "k.pem"), "needs --tls-cert"),
        (("--tls-cert", "c.pem", "--tls-self-signed", "d"), "give it without"),
        (("--tls-cert", str(tmp_path / "none.pem")), "none.pem (PEM): No such file"),
    ):
        ran = kvs("serve", "--port", "0", *options)
        assert ran.exit_code == 2
        assert why in " ".join(ran.stderr.split())


def test_quotas_are_kept_when_asked_for(kvs: Any, start_kvs: Any) -> None:
    """Of 20 fragments ten are accepted at once, the rest at five a second."""
    url = listening(start_kvs("serve", "--port", "0", "--quotas"))
    source = "testsrc:duration=20,size=64x64,rate=5,gop=5"
    started = time.monotonic()
    put = kvs("put", source, "door", "--endpoint-url", url, "--json")
    assert put.exit_code == 0, put.stderr
    assert json.loads(put.stdout)["fragments"] == 20
    assert time.monotonic() - started > 1.8


def test_missing_media_file_is_reported(kvs: Any, start_kvs: Any, tmp_path: Path) -> None:
    """The error names the missing file and says what to do; there is no traceback."""
    data = tmp_path / "data"
    first = start_kvs("serve", "--port", "0", "--data", str(data))
    put = kvs("put", "testsrc:duration=1,size=64x64", "kept", "--endpoint-url", listening(first))
    assert put.exit_code == 0, put.stderr
    first.terminate()
    assert first.wait(20) == 0
    (data / "fragments").rename(tmp_path / "aside")
    ran = kvs("serve", "--port", "0", "--data", str(data))
    assert ran.exit_code == 1
    said = "".join(ran.stderr.split())
    assert "00000001.mkvs:thefileismissing,andtheindexlists1fragments" in said
    assert "deleteindex.sqlite3" in said
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (b"{no", "not JSON"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b'[{"on": "*", "do": "explode"}]', "'explode'"),
        (b'[{"on": "*", "do": "reset", "afterbytes": 1}]', "after_bytes, bytes_per_s"),
        (None, "No such file"),
    ],
)
def test_invalid_fault_script_is_reported(
    kvs: Any, tmp_path: Path, script: bytes | None, why: str
) -> None:
    """The error has the file and, once, its fault; the endpoint does not start."""
    file = tmp_path / "f.json"
    if script is not None:
        file.write_bytes(script)
    ran = kvs("serve", "--port", "0", "--faults", str(file))
    assert ran.exit_code == 2
    output = " ".join(ran.stderr.split())
    assert why in output
    assert output.count("f.json") == 1
    assert "Errno" not in output


def test_port_in_use_is_reported_once(kvs: Any) -> None:
    """The error has the address once, and the system's text."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = kvs("serve", "--port", port)
    assert ran.exit_code == 1
    output = " ".join(ran.stderr.split())
    assert "Address already in use" in output
    assert output.count(port) == 1
