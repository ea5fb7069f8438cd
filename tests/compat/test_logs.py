"""Levels of AWS's producers, and their rolling log files as a handler of `logging`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer import StatusCode
from kvsproducer.compat.logs import attach, environment_level, log_level

S = StatusCode


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """Return a logger of the test, which accepts all levels."""
    one = logging.getLogger("kvsproducer.of-a-test")
    one.setLevel(1)
    yield one
    one.handlers.clear()
    one.setLevel(logging.NOTSET)


def refused(status: StatusCode, *arguments: Any, **options: Any) -> kvs.KvsError:
    with pytest.raises(kvs.KvsError) as caught:
        kvs.FileLogHandler(*arguments, **options)
    assert caught.value.status is status
    return caught.value


@pytest.mark.parametrize(
    ("number", "level"),
    [(1, 5), (2, 10), (3, 20), (4, 30), (5, 40), (6, 50), (7, 60), (8, 5), (0, 30), (99, 30)],
)
def test_levels(number: int, level: int) -> None:
    assert log_level(number) == level


@pytest.mark.parametrize(
    ("text", "level"),
    [("2", 10), ("3", 20), ("0", 5), ("99", 60), ("", 30), ("debug", 30), ("-1", 30), (" 5 ", 40)],
)
def test_level_of_the_environment(text: str, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is limited to 1 to 7; anything else is the default."""
    monkeypatch.setenv("AWS_KVS_LOG_LEVEL", text)
    assert environment_level() == level
    assert kvs.FileLogHandler.__init__  # the name is public
    monkeypatch.delenv("AWS_KVS_LOG_LEVEL")
    assert environment_level() == logging.WARNING


def test_lines_are_written_when_the_file_is_closed(tmp_path: Path, logger: logging.Logger) -> None:
    """One line for each record, with time, level and logger. An error is written at once."""
    handler = kvs.FileLogHandler(tmp_path, level="DEBUG", time_format="%Y")
    logger.addHandler(handler)
    logger.debug("first %s", "line")
    assert not (tmp_path / "kvsFileLog.0").exists()
    logger.error("trouble")
    lines = (tmp_path / "kvsFileLog.0").read_text().splitlines()
    assert [line.split(" - ")[1] for line in lines] == ["first line", "trouble"]
    assert "DEBUG   kvsproducer.of-a-test - first line" in lines[0]
    assert lines[0].startswith("20")
    logger.info("last")
    handler.flush()
    handler.close()
    assert (tmp_path / "kvsFileLog.0").read_text().count("\n") == 3
    assert (tmp_path / "kvsFileLogIndex").read_text() == "1"


def test_level_is_that_of_the_environment(
    tmp_path: Path, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_KVS_LOG_LEVEL", "3")
    handler = kvs.FileLogHandler(tmp_path)
    logger.addHandler(handler)
    logger.debug("not this")
    logger.info("this")
    handler.close()
    assert "not this" not in (tmp_path / "kvsFileLog.0").read_text()


@pytest.mark.parametrize("all_levels", [True, False])
def test_filtered_level_has_separate_files(
    tmp_path: Path, logger: logging.Logger, all_levels: bool
) -> None:
    """The other lines go to the main files, or nowhere."""
    handler = kvs.FileLogHandler(
        tmp_path, level=1, filter_level=logging.INFO, all_levels=all_levels
    )
    logger.addHandler(handler)
    logger.info("chosen")
    logger.warning("another")
    handler.close()
    assert "chosen" in (tmp_path / "kvsFileLogFilter.0").read_text()
    assert (tmp_path / "kvsFileFilterLogIndex").read_text() == "1"
    main = tmp_path / "kvsFileLog.0"
    assert main.exists() == all_levels
    if all_levels:
        assert "another" in main.read_text()
        assert "chosen" not in main.read_text()


def test_invalid_options(tmp_path: Path) -> None:
    """The statuses are AWS's. The one of the index has a status of the utilities as cause."""
    refused(S.INVALID_ARG, tmp_path, file_bytes=1)
    refused(S.INVALID_ARG, tmp_path, max_files=0)
    refused(S.INVALID_ARG, tmp_path, level="LOUD")
    refused(S.MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED, tmp_path, time_format="%Y" * 14)
    refused(S.STRFTIME_FALIED, tmp_path, time_format="")
    (tmp_path / "kvsFileLogIndex").write_text("1" * 300)
    error = refused(S.FILE_LOGGER_INDEX_FILE_TOO_LARGE, tmp_path)
    assert isinstance(error.__cause__, kvs.KvsError)
    assert error.__cause__.status is S.FILE_LOGGER_INDEX_FILE_INVALID_SIZE


def test_disk_that_fails_later_loses_only_lines(
    tmp_path: Path, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """The failure is reported on standard error, as `logging` does, and the caller continues."""
    folder = tmp_path / "logs"
    handler = kvs.FileLogHandler(folder, level=1)
    logger.addHandler(handler)
    shutil.rmtree(folder)
    logger.error("nowhere to go")
    assert "FileNotFoundError" in capsys.readouterr().err
    logger.info("nor this")
    handler.close()
    assert "cannot write the log file" in capsys.readouterr().err


def test_stream_logs_a_line_for_each_state(
    tmp_path: Path, endpoint_url: str, info: kvs.StreamInfo
) -> None:
    """Lines arrive while the handler is attached. Then the logger's level is restored."""
    package = logging.getLogger("kvsproducer")
    before = package.level
    with attach(kvs.FileLogHandler(tmp_path, level="INFO")):
        with kvs.Producer(endpoint_url=endpoint_url) as producer:
            producer.open_stream("door", info).wait_ready()
    assert package.level == before
    text = (tmp_path / "kvsFileLog.0").read_text()
    for move in ("new -> describe", "describe -> create"):
        assert f"INFO    kvsproducer - stream door: {move}" in text
    assert "INFO    kvsproducer - stream door: StreamReady" in text
    package.warning("after it")
    assert (tmp_path / "kvsFileLog.0").read_text() == text


def test_handlers_removed_in_another_order() -> None:
    """The second handler still gets lines after the first is removed."""
    lines: list[str] = []

    class Second(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    package = logging.getLogger("kvsproducer")
    before = package.level
    first, second = attach(logging.NullHandler(5)), attach(Second(logging.DEBUG))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    package.debug("still logged")
    second.__exit__(None, None, None)
    assert lines == ["still logged"]
    assert package.level == before
