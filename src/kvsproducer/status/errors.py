"""The exception tree: one `KvsError`, a subclass by library, mixed with the expected built-in.

    KvsError
      CommonError    0x0000....   argument, memory, file and time-out failures shared by all rooms
      HeapError      0x1000....   content stores
      TraceError     0x1010....   the profiler
      ProducerError  0x15......, 0x16......   credentials, HTTP, callbacks
      ViewError      0x3000....   the content view
      MkvError       0x3200....   Matroska and codec private data
      UtilsError     0x40......, 0x41......   conversions, directories, bit reader
      ClientError    0x5200....   the producer client
      DurationError  the INVALID_DURATION_VALUE sentinel

`kvs_error(status, ...)` makes the right one: the base of the code tells the library, and a table
below tells the built-in that a Python user would catch (`ValueError`, `MemoryError`,
`TimeoutError`, `PermissionError` ...). Foreign errors are wrapped at the border with `raise ...
from error`. A detail never contains a secret: callers pass names, lengths and numbers.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from kvsproducer.status.codes import StatusCode

if TYPE_CHECKING:
    from kvsproducer.status.catalogue import Entry

__all__ = [
    "ClientError",
    "CommonError",
    "DurationError",
    "HeapError",
    "KvsError",
    "MkvError",
    "ProducerError",
    "TraceError",
    "UtilsError",
    "ViewError",
    "builtin_class",
    "error_class",
    "kvs_error",
    "library_class",
]


class KvsError(Exception):
    """Any failure that this package reports.

    `status` is the `StatusCode`; `detail` says what was wrong this time; `stream` (name), `upload`
    (handle), `timecode` (of the fragment, in stream timecode units) and `offset` (bytes into the
    input) say where, each None when it does not apply. `name`, `description`, `condition` and
    `action` are the catalogue's texts for the status; the last three are empty when the catalogue
    cannot be read, as in a process without a file descriptor left.
    """

    def __init__(
        self,
        status: StatusCode,
        detail: str = "",
        *,
        stream: str | None = None,
        upload: int | None = None,
        timecode: int | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.stream = stream
        self.upload = upload
        self.timecode = timecode
        self.offset = offset

    @property
    def name(self) -> str:
        """The name in the Error Code Reference, such as `STATUS_INVALID_STREAM_STATE`."""
        entry = self._entry()
        return entry.name if entry else f"STATUS_{self.status.name}"

    @property
    def description(self) -> str:
        """What the status means, from the catalogue."""
        entry = self._entry()
        return entry.description if entry else ""

    @property
    def condition(self) -> str:
        """What raises the status in this package, from the catalogue."""
        entry = self._entry()
        return entry.condition if entry else ""

    @property
    def action(self) -> str:
        """What to do about it, from the catalogue; empty when there is nothing to do."""
        entry = self._entry()
        return entry.action if entry else ""

    @property
    def context(self) -> str:
        """Where it happened: `stream 'door', upload 3, fragment 1700000000000, byte 44`."""
        parts = [] if self.stream is None else [f"stream {self.stream!r}"]
        for label, value in (
            ("upload", self.upload),
            ("fragment", self.timecode),
            ("byte", self.offset),
        ):
            if value is not None:
                parts.append(f"{label} {value}")
        return ", ".join(parts)

    def __str__(self) -> str:
        said = self.detail or self.description
        text = f"{self.name} ({self.status.hex})" + (f": {said}" if said else "")
        if self.context:
            text += f" [{self.context}]"
        return f"{text} -> {self.action}" if self.action else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status.name}, {self.detail!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # Most classes are made on the fly, and pickle (multiprocessing) finds none of them by name.
        mixed = type(self) is error_class(self.status)
        make = kvs_error if mixed else type(self)
        return make, (self.status, self.detail), self.__dict__

    def _entry(self) -> Entry | None:
        # The texts are read from disk only once somebody looks at an error. A process that has no
        # file descriptor left, or whose disk is gone, must still be able to say which error.
        try:
            from kvsproducer.status.catalogue import entry

            return entry(self.status)
        except OSError:
            return None


class CommonError(KvsError):
    """0x0000....: arguments, memory, files and time-outs."""


class HeapError(KvsError):
    """0x1000....: a content store."""


class TraceError(KvsError):
    """0x1010....: the profiler."""


class ProducerError(KvsError):
    """0x15...... and 0x16......: credentials, HTTP calls, callbacks."""


class ViewError(KvsError):
    """0x3000....: the content view."""


class MkvError(KvsError):
    """0x3200....: Matroska packaging and parsing, codec private data, NAL units."""


class UtilsError(KvsError):
    """0x40...... and 0x41......: conversions, directories, bit reader, timers."""


class ClientError(KvsError):
    """0x5200....: the producer client."""


class DurationError(KvsError, ValueError):
    """The duration text is not ISO 8601."""


_LIBRARIES: tuple[tuple[int, type[KvsError]], ...] = (
    # (first value of the next library, class), ascending
    (0x10000000, CommonError),
    (0x10100000, HeapError),
    (0x15000000, TraceError),
    (0x30000000, ProducerError),
    (0x32000000, ViewError),
    (0x40000000, MkvError),
    (0x52000000, UtilsError),
    (0x53000000, ClientError),
    (1 << 64, DurationError),
)

_S = StatusCode
_BUILTINS: dict[StatusCode, type[Exception]] = {
    _S.NULL_ARG: ValueError,
    _S.NOT_ENOUGH_MEMORY: MemoryError,
    _S.STORE_OUT_OF_MEMORY: MemoryError,
    _S.HEAP_REALLOC_ERROR: MemoryError,
    _S.UNEXPECTED_EOF: EOFError,
    _S.FORMAT_ERROR: ValueError,
    _S.EMPTY_STRING: ValueError,
    _S.INT_OVERFLOW: OverflowError,
    _S.NOT_IMPLEMENTED: NotImplementedError,
    _S.OPERATION_TIMED_OUT: TimeoutError,
    _S.SERVICE_CALL_TIMEOUT_ERROR: TimeoutError,
    _S.PERSISTED_ACK_TIMEOUT: TimeoutError,
    _S.NOT_FOUND: LookupError,
    _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR: LookupError,
    _S.MKV_TRACK_INFO_NOT_FOUND: LookupError,
    _S.HASH_KEY_NOT_PRESENT: LookupError,
    _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR: PermissionError,
    _S.DIRECTORY_ACCESS_DENIED: PermissionError,
    _S.OPEN_FILE_FAILED: OSError,
    _S.READ_FILE_FAILED: OSError,
    _S.WRITE_TO_FILE_FAILED: OSError,
    _S.DIRECTORY_OPEN_FAILED: OSError,
    _S.DIRECTORY_MISSING_PATH: FileNotFoundError,
    _S.FILE_CREDENTIAL_PROVIDER_OPEN_FILE_FAILED: OSError,
    _S.STREAM_HAS_BEEN_STOPPED: RuntimeError,
    _S.INVALID_STREAM_STATE: RuntimeError,
    _S.INVALID_OPERATION: RuntimeError,
    _S.STREAM_NOT_STARTED: RuntimeError,
    _S.CLIENT_BEING_SHUTDOWN: RuntimeError,
    _S.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED: RuntimeError,
    _S.PATH_TOO_LONG: ValueError,
    _S.TRACK_INFO_MISSING: ValueError,
    _S.OFFLINE_MODE_WITH_ZERO_RETENTION: ValueError,
    _S.DEVICE_TAGS_COUNT_NON_ZERO_TAGS_NULL: ValueError,
    _S.CONTENT_VIEW_INVALID_TIMESTAMP: ValueError,
    _S.CONTENT_VIEW_INVALID_INDEX: IndexError,
    _S.DIRECTORY_ENTRY_STAT_ERROR: OSError,
    _S.REMOVE_DIRECTORY_FAILED: OSError,
    _S.REMOVE_FILE_FAILED: OSError,
    _S.REMOVE_LINK_FAILED: OSError,
    _S.CREATE_THREAD_FAILED: RuntimeError,
    _S.DESCRIBE_STREAM_CALL_FAILED: ConnectionError,
    _S.CREATE_STREAM_CALL_FAILED: ConnectionError,
    _S.GET_STREAMING_ENDPOINT_CALL_FAILED: ConnectionError,
    _S.PUT_STREAM_CALL_FAILED: ConnectionError,
    _S.SERVICE_CALL_UNKOWN_ERROR: ConnectionError,
}


def library_class(status: StatusCode) -> type[KvsError]:
    """The class of the library that a status belongs to, which `except` clauses name."""
    return next(cls for bound, cls in _LIBRARIES if status < bound)


def builtin_class(status: StatusCode) -> type[Exception] | None:
    """The built-in exception that a Python user expects for `status`, if there is one."""
    known = _BUILTINS.get(status)
    if known is not None:
        return known
    # Lengths, counts, versions and formats of what the caller passed are all bad values.
    bad_value = ("INVALID_", "MKV_", "MAX_", "MIN_", "DUPLICATE_", "BIT_READER_")
    return ValueError if status.name.startswith(bad_value) else None


@cache
def error_class(status: StatusCode) -> type[KvsError]:
    """The exception class for a status: its library's, mixed with the built-in that fits."""
    library = library_class(status)
    builtin = builtin_class(status)
    if builtin is None or issubclass(library, builtin):
        return library
    name = library.__name__.removesuffix("Error") + builtin.__name__
    return type(name, (library, builtin), {"__doc__": library.__doc__, "__module__": __name__})


def kvs_error(
    status: StatusCode,
    detail: str = "",
    *,
    stream: str | None = None,
    upload: int | None = None,
    timecode: int | None = None,
    offset: int | None = None,
) -> KvsError:
    """Make the exception for `status`, ready to raise; see `KvsError` for the arguments."""
    return error_class(status)(
        status, detail, stream=stream, upload=upload, timecode=timecode, offset=offset
    )
