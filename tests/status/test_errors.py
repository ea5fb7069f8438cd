"""The exception tree: what a user catches, and what an error says."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

from kvsproducer.status import (
    ClientError,
    CommonError,
    DurationError,
    HeapError,
    KvsError,
    MkvError,
    ProducerError,
    StatusCode,
    TraceError,
    UtilsError,
    ViewError,
    kvs_error,
)


@pytest.mark.parametrize(
    ("status", "library"),
    [
        (StatusCode.NULL_ARG, CommonError),
        (StatusCode.INVALID_THREAD_PARAMS_VERSION, CommonError),
        (StatusCode.HEAP_FLAGS_ERROR, HeapError),
        (StatusCode.MIN_PROFILER_BUFFER, TraceError),
        (StatusCode.STOP_CALLBACK_CHAIN, ProducerError),
        (StatusCode.CURL_PERFORM_FAILED, ProducerError),
        (StatusCode.MIN_CONTENT_VIEW_ITEMS, ViewError),
        (StatusCode.MKV_INVALID_FRAME_DATA, MkvError),
        (StatusCode.INVALID_BASE, UtilsError),
        (StatusCode.FILE_LOGGER_INDEX_FILE_INVALID_SIZE, UtilsError),
        (StatusCode.MAX_STREAM_COUNT, ClientError),
        (StatusCode.STATE_MACHINE_NAME_LEN_INVALID, ClientError),
        (StatusCode.INVALID_DURATION_VALUE, DurationError),
    ],
)
def test_the_value_tells_the_library(status: StatusCode, library: type[KvsError]) -> None:
    """`except MkvError` catches all of 0x3200...., and so on."""
    assert isinstance(kvs_error(status), library)


@pytest.mark.parametrize(
    ("status", "builtin"),
    [
        (StatusCode.INVALID_ARG, ValueError),
        (StatusCode.MKV_INVALID_FRAME_DATA, ValueError),
        (StatusCode.INVALID_DURATION_VALUE, ValueError),
        (StatusCode.STORE_OUT_OF_MEMORY, MemoryError),
        (StatusCode.OPERATION_TIMED_OUT, TimeoutError),
        (StatusCode.SERVICE_CALL_NOT_AUTHORIZED_ERROR, PermissionError),
        (StatusCode.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR, LookupError),
        (StatusCode.NOT_IMPLEMENTED, NotImplementedError),
        (StatusCode.DIRECTORY_MISSING_PATH, FileNotFoundError),
        (StatusCode.INT_OVERFLOW, OverflowError),
        (StatusCode.STREAM_HAS_BEEN_STOPPED, RuntimeError),
        (StatusCode.CONTENT_VIEW_INVALID_INDEX, IndexError),
    ],
)
def test_errors_are_the_built_in_that_a_python_user_expects(
    status: StatusCode, builtin: type[Exception]
) -> None:
    """`except ValueError` and its kin work without knowing this package."""
    assert isinstance(kvs_error(status), builtin)


@pytest.mark.parametrize("status", StatusCode)
def test_every_status_can_be_raised_printed_and_sent_to_another_process(
    status: StatusCode,
) -> None:
    """No class of the tree is impossible, and pickle keeps class, context and text."""
    error = kvs_error(status, "detail", stream="door", upload=3, timecode=17, offset=44)
    error.add_note("seen twice")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert (twin.stream, twin.upload, twin.timecode, twin.offset) == ("door", 3, 17, 44)
        assert twin.__notes__ == ["seen twice"]


def test_a_class_chosen_by_hand_survives_pickling() -> None:
    """The Matroska parser raises the service's codes as MkvError; that is kept."""
    error = MkvError(StatusCode.ACK_ERR_INVALID_MKV_DATA, "no EBML", offset=12)
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is MkvError
    assert (str(twin), twin.offset) == (str(error), 12)


def test_an_error_says_name_code_cause_place_and_action() -> None:
    """One line has all that a user needs."""
    error = kvs_error(StatusCode.MKV_INVALID_TRACK_UID, "track id is 0", stream="door", offset=7)
    text = str(error)
    assert text.startswith("STATUS_MKV_INVALID_TRACK_UID (0x32000028): track id is 0")
    assert "[stream 'door', byte 7]" in text
    assert text.endswith("-> Number the tracks from 1.")
    assert repr(error) == "MkvValueError(MKV_INVALID_TRACK_UID, 'track id is 0')"


def test_without_a_detail_the_description_is_shown() -> None:
    """An error raised by its status alone still explains itself."""
    error = kvs_error(StatusCode.OPERATION_TIMED_OUT)
    assert "The operation timed out." in str(error)
    assert error.context == ""
    assert error.name == "STATUS_OPERATION_TIMED_OUT"
    assert error.description == "The operation timed out."
    assert error.action
    assert "wait_ready()" in error.condition


def test_texts_are_not_read_when_the_package_is_imported() -> None:
    """The catalogue is loaded by the first look at an error, not by an import or a raise."""
    code = (
        "import sys, kvsproducer, kvsproducer.status as s;"
        "e = s.kvs_error(s.StatusCode.NULL_ARG, 'x');"
        "assert 'kvsproducer.status.catalogue' not in sys.modules;"
        "str(e);"
        "assert 'kvsproducer.status.catalogue' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


OUT_OF_DESCRIPTORS = """
import resource
from socket import socket
from kvsproducer.status import StatusCode, kvs_error
error = kvs_error(StatusCode.STORE_OUT_OF_MEMORY, "no 5 bytes")
held = []
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
try:
    while True:
        held.append(socket())
except OSError:
    pass
print(error, [error.description, error.condition, error.action])
print(kvs_error(StatusCode.STORE_OUT_OF_MEMORY))
held.clear()
print(bool(error.description and error.action))
"""


def test_an_error_is_told_by_a_process_that_can_open_no_file() -> None:
    """The catalogue's texts come from disk; the status and what was wrong need none."""
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_DESCRIPTORS], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "STATUS_STORE_OUT_OF_MEMORY (0x5200002e): no 5 bytes ['', '', '']",
        "STATUS_STORE_OUT_OF_MEMORY (0x5200002e)",
        "True",
    ], done.stderr
