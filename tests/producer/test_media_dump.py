"""KVS_DEBUG_DUMP_DATA_FILE_DIR: a copy of the data of an upload."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import kvsproducer as kvs
from kvsproducer.cli.inspect import inspect_file
from kvsproducer.producer.upload import VARIABLE, MediaDump


def put(endpoint_url: str, stream: str) -> kvs.FrameAccount:
    """Ten frames in two fragments."""
    info = kvs.StreamInfo.video("h264", retention="PT1H", nal_adaptation=kvs.NalAdaptation.NONE)
    with kvs.Producer(endpoint_url=endpoint_url) as producer:
        opened = producer.open_stream(stream, info)
        for number in range(10):
            pts = 17_000_000_000_000_000 + number * 400_000
            opened.put_frame(kvs.Frame(b"frame %d" % number, pts, key_frame=number % 5 == 0))
        return opened.close()


def test_copy_of_an_upload(
    endpoint_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file for each upload, with every frame; `kvs inspect` reads it."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert put(endpoint_url, "dumped").persisted == 10
    (path,) = tmp_path.iterdir()
    assert path.name == "dumped_0.mkv"
    found = inspect_file(str(path))
    assert [fragment.frames for fragment in found.fragments] == [{1: 5}, {1: 5}]


@pytest.mark.parametrize("folder", ["missing", "/dev/full"])
def test_failing_copy_does_not_disturb(
    folder: str,
    endpoint_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The upload continues; one warning names the file."""
    caplog.set_level(logging.WARNING, "kvsproducer")
    if folder == "/dev/full":
        (tmp_path / "undumped_0.mkv").symlink_to(folder)
        folder = ""
    monkeypatch.setenv(VARIABLE, str(tmp_path / folder))
    assert put(endpoint_url, "undumped").persisted == 10
    (line,) = [record.getMessage() for record in caplog.records if VARIABLE in record.getMessage()]
    assert "undumped_0.mkv cannot be written" in line


def test_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is opened."""
    monkeypatch.delenv(VARIABLE, raising=False)
    dump = MediaDump("door", 0)
    dump.write(b"data")
    dump.close()
