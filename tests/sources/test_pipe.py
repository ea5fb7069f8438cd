"""Sources that can be read once: nothing of them is lost, and what goes wrong is told."""

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


def test_a_fifo_loses_no_byte(make_clip: MakeClip, tmp_path: Path) -> None:
    """`kvs put <(ffmpeg ...)`: what comes through a FIFO is what the file has, from its start."""
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


def test_what_is_a_pipe(tmp_path: Path) -> None:
    """Files and folders are none, nor is what is not there."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    assert is_pipe(str(tmp_path / "fifo"))
    assert not any(is_pipe(str(tmp_path / name)) for name in ("file", ".", "missing", "nul\0"))


def test_a_file_behind_standard_input_is_a_file(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kvs put - STREAM < clip.mp4` may have its index anywhere; read from, it is a pipe."""
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
def test_closed_standard_input_is_told(stdin: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager starts programs without one."""
    file = None if stdin is None else io.StringIO()
    if file is not None:
        file.close()
    monkeypatch.setattr("sys.stdin", file)
    with pytest.raises(KvsError, match="it is closed") as caught:
        open_source("-")
    assert caught.value.status is StatusCode.READ_FILE_FAILED


def test_a_terminal_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kvs put - STREAM` at a prompt says what is missing, and does not wait for ever."""
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


def test_nothing_at_all_is_told() -> None:
    """The command before the `|` failed."""
    with pytest.raises(KvsError, match="standard input is empty") as caught:
        open_source("-", stdin=io.BytesIO())
    assert caught.value.status is StatusCode.FORMAT_ERROR


def test_a_read_error_is_told() -> None:
    """The system's words, not FFmpeg's."""

    class Broken(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(KvsError, match="standard input: Input/output error") as caught:
        open_source("-", stdin=Broken())
    assert caught.value.status is StatusCode.READ_FILE_FAILED


def test_an_index_at_the_end_is_told(make_clip: MakeClip) -> None:
    """FFmpeg writes MP4 so, and a pipe has no way back."""
    clip = make_clip("mp4", audio="aac")
    with pytest.raises(KvsError, match="index at the end") as caught:
        take(open_source("-", stdin=io.BytesIO(clip.read_bytes())))
    assert caught.value.status is StatusCode.FORMAT_ERROR


def test_ctrl_c_ends_the_input_and_is_raised() -> None:
    """FFmpeg asks again after an end, and is answered so."""

    class Interrupted(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            raise KeyboardInterrupt

    pipe = Pipe(Interrupted(), "standard input")
    assert pipe.read(10) == pipe.read(10) == b""
    with pytest.raises(KeyboardInterrupt):
        pipe.check()


def test_only_its_own_file_is_closed(tmp_path: Path) -> None:
    """Standard input stays the application's."""
    theirs, own = io.BytesIO(b"x"), io.BytesIO(b"x")
    Pipe(theirs, "standard input").close()
    Pipe(own, "fifo", own=True).close()
    assert (theirs.closed, own.closed) == (False, True)


def test_when_a_byte_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece has its time; the oldest are forgotten, and count as the oldest one known."""
    now = [0]
    monkeypatch.setattr(pipe_module, "monotonic", lambda: now[0])
    pipe = Pipe(io.BytesIO(bytes(100_000)), "test")
    assert pipe.arrived(0) == 0
    for piece in range(10_000):
        now[0] = piece
        assert pipe.read(10) == bytes(10)
    assert [pipe.arrived(n) for n in (99_999, 99_990, 99_989, 95_000)] == [9999, 9999, 9998, 9500]
    assert [pipe.arrived(n) for n in (None, -1, 10**6)] == [9999] * 3
    assert pipe.arrived(0) > 1000
