"""`kvs serve` as a process: its first line, its data, its end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any


def listening(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    assert re.fullmatch(r"listening on http://127\.0\.0\.1:[1-9]\d*\n", line), line
    return line.split()[-1]


def test_data_survives_a_restart(kvs: Any, start_kvs: Any, clip: Path, tmp_path: Path) -> None:
    """What was PERSISTED before the end is there after the next start."""
    data = str(tmp_path / "data")
    first = start_kvs("serve", "--port", "0", "--data", data)
    put = kvs("put", str(clip), "kept", "--endpoint-url", listening(first))
    assert put.exit_code == 0, put.stderr
    first.send_signal(signal.SIGINT)
    _, stderr = first.communicate(timeout=20)
    assert (first.returncode, stderr.decode().strip()) == (0, "stopped")

    second = start_kvs("serve", "--port", "0", "--data", data)
    path = str(tmp_path / "x.mkv")
    got = kvs("get", "kept", "-o", path, "--json", "--endpoint-url", listening(second))
    assert json.loads(got.stdout)["frames"] == 217
    second.send_signal(signal.SIGTERM)
    assert second.wait(20) == 0


def test_signatures(kvs: Any, start_kvs: Any, monkeypatch: Any) -> None:
    """--verify-signatures refuses other keys, with 403 as AWS does."""
    url = listening(start_kvs("serve", "--port", "0", "--verify-signatures"))
    good = kvs("put", "testsrc:duration=1,size=64x64", "s", "--endpoint-url", url)
    assert good.exit_code == 0, good.stderr
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    bad = kvs("put", "testsrc:duration=1,size=64x64", "s", "--endpoint-url", url)
    assert bad.exit_code == 1
    assert "403" in bad.told or "NOT_AUTHORIZED" in bad.told


def test_a_taken_port(kvs: Any) -> None:
    """The address is in use: said with a status, exit 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = kvs("serve", "--port", str(taken.getsockname()[1]))
    assert ran.exit_code == 1
    assert "STATUS_INVALID_OPERATION" in ran.stderr
    assert "in use" in ran.told
