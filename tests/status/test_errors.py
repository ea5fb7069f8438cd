"""The exceptions by meaning: which class a status has, what it can be caught as, what it says."""

from __future__ import annotations

import ast
import copy
import pickle
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import kvsproducer
from kvsproducer.status import (
    BufferFull,
    ConnectionFailed,
    InternalError,
    InvalidConfiguration,
    InvalidFrame,
    InvalidMedia,
    KvsError,
    NotAuthorized,
    ServiceError,
    StatusCode,
    StorageError,
    StreamClosed,
    StreamNotFound,
    Throttled,
    TimedOut,
    error_class,
    kvs_error,
    with_detail,
)
from kvsproducer.status.catalogue import entries
from kvsproducer.status.errors import BY_PLACE
from kvsproducer.status.service_errors import ACK_ERRORS, EXCEPTIONS

_S = StatusCode
SOURCE = Path(kvsproducer.__file__).parent
BUILTINS: dict[type[KvsError], tuple[type[Exception], ...]] = {
    StreamNotFound: (ServiceError, OSError, LookupError),
    NotAuthorized: (ServiceError, PermissionError),
    Throttled: (ServiceError, OSError),
    ServiceError: (OSError,),
    ConnectionFailed: (ConnectionError,),
    TimedOut: (TimeoutError,),
    BufferFull: (MemoryError,),
    StreamClosed: (RuntimeError,),
    InvalidFrame: (ValueError, TypeError),
    InvalidMedia: (ValueError,),
    InvalidConfiguration: (ValueError, TypeError),
    StorageError: (OSError,),
    InternalError: (RuntimeError,),
}
INVALID = (InvalidFrame, InvalidMedia, InvalidConfiguration)


@pytest.mark.parametrize("cls", BUILTINS, ids=lambda cls: cls.__name__)
def test_each_class_is_public_and_the_built_in_that_a_python_user_expects(
    cls: type[KvsError],
) -> None:
    """`except TimeoutError` works without knowing this package; the docstring names statuses."""
    assert getattr(kvsproducer, cls.__name__) is cls
    assert cls.__name__ in kvsproducer.__all__
    assert all(issubclass(cls, one) for one in (KvsError, *BUILTINS[cls]))
    words = {word.strip(".,;()") for word in (cls.__doc__ or "").split()}
    named = {word for word in words if word in StatusCode.__members__}
    assert named
    for name in named:
        status = StatusCode[name]
        assert cls in (error_class(status), *BY_PLACE.get(status, ())), f"{name} is not {cls}"


def test_no_other_class_carries_a_status() -> None:
    """Every status has one of the 13 classes, and none is made at run time."""
    assert {error_class(status) for status in StatusCode} == set(BUILTINS)
    assert {cls.__name__ for cls in BUILTINS} < set(vars(kvsproducer.status.errors))


def test_outside_failures_are_os_errors_and_mistakes_are_value_errors() -> None:
    """The two halves of the tree: what time or an operator cures, and what an edit cures."""
    outside = [ServiceError, ConnectionFailed, TimedOut, StorageError]
    assert all(issubclass(cls, OSError) for cls in outside)
    assert not any(issubclass(cls, OSError) for cls in (*INVALID, BufferFull, StreamClosed))
    assert all(issubclass(cls, ValueError) for cls in INVALID)


WORDS: list[tuple[str, tuple[type[KvsError], ...]]] = [
    (r"^ACK_ERR_", (ServiceError, StreamNotFound, NotAuthorized)),
    (r"^HEAP_", (StorageError, BufferFull, InvalidConfiguration)),
    (r"^MKV_|^BIT_READER|^MAX_FRAGMENT_METADATA|INVALID_METADATA|IMAGE_METADATA", INVALID),
    (r"_VERSION$|^MAX_IOT|^MAX_REQUEST|^MAX_.*TAG_|^INVALID_TAG", (InvalidConfiguration,)),
    (r"NOT_AUTHORIZED|KEY_ACCESS_DENIED", (NotAuthorized,)),
    (r"TIMED_OUT|TIMEOUT", (TimedOut,)),
    (r"STORE_OUT_OF_MEMORY", (BufferFull,)),
    (r"BEING_SHUTDOWN|SHUTTING_DOWN|AFTER_SHUTDOWN|STOPPED", (StreamClosed,)),
    (r"^DIRECTORY_|^REMOVE_|_FILE_FAILED$", (StorageError,)),
    (r"^THREAD|^HASH_|_THREAD_|STATE_MACHINE_STATE", (InternalError, InvalidConfiguration)),
    (r"_RETURN_JSON$|_RESPONSE$|^INVALID_ACK_", (ServiceError,)),
    (
        r"^SERVICE_CALL_(?!CALLBACKS)",
        (StreamNotFound, NotAuthorized, Throttled, ServiceError, ConnectionFailed, TimedOut),
    ),
]
"""What a part of a status's name says about its class: rules by group, and no copy of the table."""


@pytest.mark.parametrize(("words", "classes"), WORDS, ids=[words for words, _ in WORDS])
def test_the_name_of_a_status_fits_its_class(
    words: str, classes: tuple[type[KvsError], ...]
) -> None:
    """A user who reads a status's name is not surprised by its class."""
    named = [status for status in StatusCode if re.search(words, status.name)]
    assert named
    assert [status.name for status in named if error_class(status) not in classes] == []


def test_statuses_that_are_never_raised_are_internal_errors() -> None:
    """Statuses that this package does not raise have the class for internal errors."""
    silent = [entry.status for entry in entries() if not entry.raised]
    odd = {error_class(status) for status in silent}
    assert odd <= {InternalError, InvalidConfiguration, StreamClosed}


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("AccessDeniedException", NotAuthorized),
        ("NotAuthorizedException", NotAuthorized),
        ("ExpiredTokenException", NotAuthorized),
        ("ResourceNotFoundException", StreamNotFound),
        ("ThrottlingException", Throttled),
        ("ClientLimitExceededException", Throttled),
        ("InvalidArgumentException", ServiceError),
        ("ResourceInUseException", ServiceError),
        ("AccountStreamLimitExceededException", ServiceError),
    ],
)
def test_the_services_exceptions_have_the_class_that_their_name_says(
    name: str, cls: type[KvsError]
) -> None:
    """As a user who knows boto3 expects; a limit on streams is not cured by waiting."""
    assert error_class(EXCEPTIONS[name]) is cls


def test_errors_of_acks_are_service_errors() -> None:
    """What the service says about a fragment; a deleted stream is one that is not found."""
    classes = {error.id: error_class(error.status) for error in ACK_ERRORS.values()}
    assert all(issubclass(cls, ServiceError) for cls in classes.values())
    assert (classes[4507], classes[4500]) == (StreamNotFound, NotAuthorized)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (_S.NULL_ARG, InvalidConfiguration),
        (_S.INVALID_DURATION_VALUE, InvalidConfiguration),
        (_S.INVALID_RETENTION_PERIOD, InvalidConfiguration),
        (_S.NOT_FOUND, InvalidConfiguration),
        (_S.FORMAT_ERROR, InvalidMedia),
        (_S.UNEXPECTED_EOF, InvalidMedia),
        (_S.MKV_INVALID_H264_H265_CPD, InvalidMedia),
        (_S.MKV_INVALID_FRAME_DATA, InvalidFrame),
        (_S.CONTENT_VIEW_INVALID_TIMESTAMP, InvalidFrame),
        (_S.MAX_FRAGMENT_METADATA_COUNT, InvalidFrame),
        (_S.STORE_OUT_OF_MEMORY, BufferFull),
        (_S.STREAM_HAS_BEEN_STOPPED, StreamClosed),
        (_S.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED, StreamClosed),
        (_S.INVALID_OPERATION, StreamClosed),
        (_S.OPEN_FILE_FAILED, StorageError),
        (_S.HEAP_FILE_HEAP_FILE_CORRUPT, StorageError),
        (_S.INTERNAL_ERROR, InternalError),
        (_S.CREATE_THREAD_FAILED, InternalError),
        (_S.SERVICE_CALL_UNKOWN_ERROR, ConnectionFailed),
        (_S.CLIENT_AUTH_CALL_FAILED, NotAuthorized),
        (_S.IOT_EXPIRATION_OCCURS_IN_PAST, NotAuthorized),
        (_S.STREAM_IS_BEING_DELETED_ERROR, StreamNotFound),
    ],
)
def test_the_statuses_that_users_meet_have_the_class_that_helps(
    status: StatusCode, cls: type[KvsError]
) -> None:
    """One or two of each class, which a change of the table has to argue with."""
    assert type(kvs_error(status)) is cls


def chosen_by_place() -> dict[StatusCode, set[str]]:
    """The classes that the source makes itself, by the status that they carry."""
    found = defaultdict[StatusCode, set[str]](set)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                continue
            status = node.args[0]
            named = isinstance(status, ast.Attribute) and status.attr in StatusCode.__members__
            if node.func.id in {cls.__name__ for cls in BUILTINS} and named:
                assert isinstance(status, ast.Attribute)
                found[StatusCode[status.attr]].add(node.func.id)
    return found


def test_by_place_lists_the_pairs_that_the_source_makes() -> None:
    """What `kvs explain` and the status page say about other classes is true."""
    for status, names in chosen_by_place().items():
        listed = {cls.__name__ for cls in (error_class(status), *BY_PLACE.get(status, ()))}
        assert names <= listed, f"{status.name}: {names - listed} is missing in BY_PLACE"
    for status, classes in BY_PLACE.items():
        assert error_class(status) not in classes
        assert len(set(classes)) == len(classes)


def test_an_os_error_has_no_errno_of_a_status() -> None:
    """NULL_ARG has the number of EPERM: code that looks at `errno` must not be misled."""
    for status in (_S.OPEN_FILE_FAILED, _S.SERVICE_CALL_TIMEOUT_ERROR):
        error = kvs_error(status, "detail")
        assert isinstance(error, OSError)
        assert (error.errno, error.strerror, error.filename) == (None, None, None)


def test_another_detail_keeps_class_status_and_remedy() -> None:
    """A failure that is raised again in another call stays what it was."""
    error = InvalidMedia(_S.READ_FILE_FAILED, "half of it", stream="a", action="Copy it again.")
    other = with_detail(error, "all of it", stream="b")
    assert (type(other), other.status, other.stream) == (InvalidMedia, _S.READ_FILE_FAILED, "b")
    assert str(other).endswith("all of it [stream 'b'] -> Copy it again.")


@pytest.mark.parametrize("status", StatusCode)
def test_every_status_can_be_raised_printed_and_sent_to_another_process(
    status: StatusCode,
) -> None:
    """Pickle and copy keep class, context and text."""
    error = kvs_error(status, "detail", stream="door", upload=3, timecode=17, offset=44)
    error.add_note("seen twice")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert (twin.stream, twin.upload, twin.timecode, twin.offset) == ("door", 3, 17, 44)
        assert twin.__notes__ == ["seen twice"]


def test_a_class_chosen_by_place_survives_pickling() -> None:
    """The Matroska parser raises a status of the service as InvalidMedia; that is kept."""
    error = InvalidMedia(_S.ACK_ERR_INVALID_MKV_DATA, "no EBML", offset=12, action="Look at it.")
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is InvalidMedia
    assert (str(twin), twin.offset, twin.action) == (str(error), 12, "Look at it.")


def test_an_error_says_name_code_cause_place_and_action() -> None:
    """One line has all that a user needs."""
    error = kvs_error(StatusCode.MKV_INVALID_TRACK_UID, "track id is 0", stream="door", offset=7)
    text = str(error)
    assert text.startswith("STATUS_MKV_INVALID_TRACK_UID (0x32000028): track id is 0")
    assert "[stream 'door', byte 7]" in text
    assert text.endswith("-> Number the tracks from 1.")
    assert repr(error) == "InvalidConfiguration(MKV_INVALID_TRACK_UID, 'track id is 0')"


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


def test_an_error_can_be_printed_without_a_free_file_descriptor() -> None:
    """The catalogue cannot be read then, but status and detail are printed."""
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_DESCRIPTORS], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "STATUS_STORE_OUT_OF_MEMORY (0x5200002e): no 5 bytes ['', '', '']",
        "STATUS_STORE_OUT_OF_MEMORY (0x5200002e)",
        "True",
    ], done.stderr
