"""`-v`, `--log-file` and `--metrics-port` of the commands."""

from __future__ import annotations

import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.cli.conftest import Kvs

from kvsproducer.cli.logs import log_to

CLIP = "testsrc:duration=1,rate=10,size=160x120"


def test_quiet_without_options(kvs: Kvs) -> None:
    """No log line is printed."""
    ran = kvs("put", CLIP, "quiet", "--mode", "offline")
    assert ran.exit_code == 0
    assert "kvsproducer" not in ran.stderr


def test_verbose_logs_state_changes(kvs: Kvs) -> None:
    """`-v` logs each state of the stream, `-vv` also the acks."""
    ran = kvs("put", CLIP, "verbose", "--mode", "offline", "-v")
    assert "INFO kvsproducer: stream verbose: new -> describe" in ran.text
    assert "FragmentAcked" not in ran.text
    ran = kvs("put", CLIP, "verbose", "--mode", "offline", "-vv")
    assert "DEBUG kvsproducer: stream verbose upload" in ran.text
    assert "FragmentAcked" in ran.text
    assert not [h for h in logging.getLogger("kvsproducer").handlers if h.level]


def test_log_file(kvs: Kvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In rolling files, at the level that the environment names; the console stays quiet."""
    ran = kvs("put", CLIP, "filed", "--mode", "offline", "--log-file", str(tmp_path / "log"))
    assert ran.exit_code == 0
    assert "kvsproducer" not in ran.stderr
    assert "stream filed: new -> describe" in (tmp_path / "log" / "kvsFileLog.0").read_text()
    monkeypatch.setenv("AWS_KVS_LOG_LEVEL", "4")
    folder = tmp_path / "warnings"
    assert kvs("put", CLIP, "filed", "--mode", "offline", "--log-file", str(folder)).exit_code == 0
    assert "new -> describe" not in "".join(
        path.read_text() for path in folder.glob("kvsFileLog.*")
    )


def test_invalid_log_folder_is_refused(kvs: Kvs, tmp_path: Path) -> None:
    """The error comes before a frame is put."""
    (tmp_path / "file").touch()
    ran = kvs("get", "filed", "--log-file", str(tmp_path / "file"))
    assert ran.exit_code == 1
    assert "OPEN_FILE_FAILED" in ran.text


@pytest.mark.parametrize(("verbose", "lines"), [(0, 1), (1, 2), (2, 3)])
def test_warnings_of_a_server(verbose: int, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    """They are printed without an option; with one there are more lines."""
    log = logging.getLogger("kvsproducer.endpoint")
    with log_to(None, verbose, warnings=True):
        for level in (logging.WARNING, logging.INFO, logging.DEBUG):
            log.log(level, "of the [test]")
    assert capsys.readouterr().err.count("kvsproducer.endpoint: of the [test]") == lines


def test_metrics_port(kvs: Kvs) -> None:
    """The metrics are served while the command runs, and not afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = threading.Event()
    ended = threading.Event()

    def ask() -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while not ended.is_set():
            try:
                with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    if b'kvs_stream_frames_total{fate="accepted",stream="seen"}' in answer.read():
                        found.set()
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    ran = kvs(
        "put", "testsrc:duration=2,rate=10,size=160x120", "seen", "--mode", "realtime",
        "--metrics-port", str(port),
    )  # fmt: skip
    ended.set()
    asking.join()
    assert ran.exit_code == 0
    assert found.is_set()
    with socket.socket() as nobody:
        assert nobody.connect_ex(("127.0.0.1", port)) != 0
