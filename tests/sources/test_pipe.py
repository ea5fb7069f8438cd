"""Sources that can be read once: no byte is lost, and errors are reported."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kvsproducer.client.frame import Frame
from kvsproducer.sources import pipe as pipe_module
from kvsproducer.sources.pipe import Pipe, is_pipe, stdin_path, stdin_pipe
from kvsproducer.sources.source import Source, open_source
from kvsproducer.status import KvsError, StatusCode

MakeClip = Callable[..., Path]


def take(source: Source) -> list[Frame]:
    with source:
        return list(source.frames())


def test_fifo_loses_no_byte(make_clip: MakeClip, tmp_path: Path) -> None:
    """`kvs put <(ffmpeg ...)` reads all bytes of a FIFO from its start."""
    clip = make_clip("ts", bframes=2, audio="aac")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(clip.read_bytes()), daemon=True)
    writer.start()
    source = open_source(fifo, start=0)
    assert source.live
    piped = take(source)
    writer.join(30)
    assert source.skipped == 0
    assert [f.data for f in piped] == [f.data for f in take(open_source(clip, start=0))]


def test_is_pipe(tmp_path: Path) -> None:
    """Files, folders and missing paths are not pipes."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    assert is_pipe(str(tmp_path / "fifo"))
    assert not any(is_pipe(str(tmp_path / name)) for name in ("file", ".", "missing", "nul\0"))


def test_file_behind_standard_input_is_a_file(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `kvs put - STREAM < clip.mp4` the index may be at the end. After a read it is a pipe."""
    clip = make_clip("mp4", audio="aac")
    saved = os.dup(0)
    try:
        with clip.open() as file:
            os.dup2(file.fileno(), 0)
        monkeypatch.setattr("sys.stdin", open(0, closefd=False))  # noqa: SIM115
        assert stdin_path() == "/dev/stdin"
        source = open_source("-", start=0)
        assert (source.name, source.live) == ("standard input", False)
        assert len(take(source)) == len(take(open_source(clip, start=0)))
        os.lseek(0, 1, os.SEEK_SET)
        assert stdin_path() is None
    finally:
        os.dup2(saved, 0)
        os.close(saved)


@pytest.mark.parametrize("stdin", [None, "closed"])
def test_closed_standard_input_is_reported(
    stdin: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service manager may start programs without it."""
    file = None if stdin is None else io.StringIO()
    if file is not None:
        file.close()
    monkeypatch.setattr("sys.stdin", file)
    with pytest.raises(KvsError, match="is closed") as caught:
        open_source("-")
    assert caught.value.status is StatusCode.READ_FILE_FAILED


def test_terminal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kvs put - STREAM` at a prompt reports the missing pipe instead of waiting for input."""
    ours, theirs = os.openpty()
    try:
        with open(theirs, closefd=False) as terminal:
            monkeypatch.setattr("sys.stdin", terminal)
            with pytest.raises(KvsError, match="pipe media into it") as caught:
                stdin_pipe()
        assert caught.value.status is StatusCode.INVALID_ARG
    finally:
        os.close(ours)
        os.close(theirs)


def test_empty_input_is_reported() -> None:
    """The command before the `|` failed."""
    with pytest.raises(KvsError, match="standard input is empty") as caught:
        open_source("-", stdin=io.BytesIO())
    assert caught.value.status is StatusCode.FORMAT_ERROR


def test_read_error_is_reported() -> None:
    """The message is the operating system's, not FFmpeg's."""

    class Broken(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(KvsError, match="standard input: Input/output error") as caught:
        open_source("-", stdin=Broken())
    assert caught.value.status is StatusCode.READ_FILE_FAILED


def test_index_at_the_end_is_reported(make_clip: MakeClip) -> None:
    """FFmpeg writes MP4 like this, and a pipe cannot seek back."""
    clip = make_clip("mp4", audio="aac")
    with pytest.raises(KvsError, match="index at the end") as caught:
        take(open_source("-", stdin=io.BytesIO(clip.read_bytes())))
    assert caught.value.status is StatusCode.FORMAT_ERROR


def test_ctrl_c_ends_the_input_and_is_raised() -> None:
    """`read` returns b"" to FFmpeg, also when FFmpeg calls it again."""

    class Interrupted(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            raise KeyboardInterrupt

    pipe = Pipe(Interrupted(), "standard input")
    assert pipe.read(10) == pipe.read(10) == b""
    with pytest.raises(KeyboardInterrupt):
        pipe.check()


def test_only_its_own_file_is_closed(tmp_path: Path) -> None:
    """Standard input belongs to the application."""
    theirs, own = io.BytesIO(b"x"), io.BytesIO(b"x")
    Pipe(theirs, "standard input").close()
    Pipe(own, "fifo", own=True).close()
    assert (theirs.closed, own.closed) == (False, True)


def test_arrival_time_of_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read has its time. Forgotten ones count as the oldest known one."""
    now = [0]
    monkeypatch.setattr(pipe_module, "monotonic", lambda: now[0])
    pipe = Pipe(io.BytesIO(bytes(100_000)), "test")
    assert pipe.arrival(0) == 0
    for piece in range(10_000):
        now[0] = piece
        assert pipe.read(10) == bytes(10)
    assert [pipe.arrival(n) for n in (99_999, 99_990, 99_989, 95_000)] == [9999, 9999, 9998, 9500]
    assert [pipe.arrival(n) for n in (None, -1, 10**6)] == [9999] * 3
    assert pipe.arrival(0) > 1000
