"""The exceptions, by meaning: each class says what a program can do about the failure.

    KvsError                everything that this package raises
      ServiceError          OSError                 the service refused a call or a fragment
        StreamNotFound      also LookupError        the stream does not exist, or is being deleted
        NotAuthorized       also PermissionError    the credentials are missing, expired or refused
        Throttled                                   a limit on calls or connections was exceeded
      ConnectionFailed      ConnectionError         the service could not be reached
      TimedOut              TimeoutError            a wait or a call took too long
      StorageError          OSError                 a file, folder or content store failed
      BufferFull            MemoryError             no space in the buffer for a frame
      StreamClosed          RuntimeError            the object is closed, or cannot be used here
      InvalidFrame          ValueError, TypeError   a frame or metadata item cannot be stored
      InvalidMedia          ValueError              a file or its codec data cannot be stored
      InvalidConfiguration  ValueError, TypeError   an option or argument is wrong
      InternalError         RuntimeError            a callback failed, or a bug of this package

Each class is a subclass of the built-in exception that Python raises for such a failure. So code
that does not know this package can catch the exceptions too. Failures outside of the program are
all OSErrors: TimeoutError, ConnectionError and PermissionError are subclasses of OSError.
InvalidFrame and InvalidConfiguration cover wrong values and wrong types, so each is a subclass of
both ValueError and TypeError.

`kvs_error(status, ...)` creates the exception for a status from the table below. A general status,
such as INVALID_ARG, means different things in different places. Code that knows the right class
creates the exception directly: `InvalidFrame(StatusCode.INVALID_ARG, ...)`. `BY_PLACE` lists these
pairs. An exception from another library is converted where it is caught, with
`raise ... from error`. A `detail` never contains secrets, only names, lengths and numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kvsproducer.status.codes import StatusCode

if TYPE_CHECKING:
    from kvsproducer.status.catalogue import Entry

__all__ = [
    "BY_PLACE",
    "BufferFull",
    "ConnectionFailed",
    "InternalError",
    "InvalidConfiguration",
    "InvalidFrame",
    "InvalidMedia",
    "KvsError",
    "NotAuthorized",
    "ServiceError",
    "StorageError",
    "StreamClosed",
    "StreamNotFound",
    "Throttled",
    "TimedOut",
    "error_class",
    "kvs_error",
    "with_detail",
]


class KvsError(Exception):
    """Any failure that this package raises.

    `status` is the `StatusCode`, and `detail` describes this failure. `stream` (name), `upload`
    (handle), `timecode` (of the fragment, in stream timecode units) and `offset` (bytes into the
    input) say where it happened. Each of these is None if it does not apply.

    `name`, `description`, `condition` and `action` are the catalogue's texts for the status. The
    last three are empty if the catalogue cannot be read, for example because the process has no
    free file descriptor. Pass `action` if the remedy in this case is more specific than the
    catalogue's.
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
        action: str = "",
    ) -> None:
        # Not super(): OSError's initializer would take the status for an errno.
        Exception.__init__(self, status, detail)
        self.status = status
        self.detail = detail
        self.stream = stream
        self.upload = upload
        self.timecode = timecode
        self.offset = offset
        self.own_action = action

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
        """What to do about the failure; empty if there is nothing to do.

        This is the `action` given for this case, or else the catalogue's text for the status.
        """
        if self.own_action:
            return self.own_action
        entry = self._entry()
        return entry.action if entry else ""

    @property
    def context(self) -> str:
        """Where it failed, such as `stream 'door', upload 3, fragment 1700000000000, byte 44`."""
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

    def _entry(self) -> Entry | None:
        # The texts are read from disk at the first look at an error. A process that has no file
        # descriptor left, or whose disk is gone, must still be able to say which error.
        try:
            from kvsproducer.status.catalogue import entry

            return entry(self.status)
        except OSError:
            return None


class ServiceError(KvsError, OSError):
    """The service refused a call or a fragment, or its answer cannot be used.

    The `detail` contains the service's message. Do not retry if the service refused the arguments
    or the number of streams: it refuses the same request again. Typical statuses:
    SERVICE_CALL_INVALID_ARG_ERROR, ACK_ERR_... (an error that the service reports for a fragment),
    and DESCRIBE_STREAM_CALL_FAILED and similar ones for a call that failed after six attempts.
    If the cause of such a failed call is known to be one of NotAuthorized, Throttled,
    ConnectionFailed or TimedOut, that class is raised instead.
    """


class StreamNotFound(ServiceError, LookupError):
    """The stream does not exist in this region and account, or it is being deleted.

    Raised by `get_media()` and `list_fragments()`, and by a producer that may not create streams.
    Create the stream, or correct its name, the region or the account, before you retry.
    Typical status: SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR; also SERVICE_CALL_RESOURCE_DELETED_ERROR
    and STREAM_IS_BEING_DELETED_ERROR.
    """


class NotAuthorized(ServiceError, PermissionError):
    """The credentials are missing, expired or refused, or lack a permission; or TLS failed.

    Raised when a call or an upload needs credentials. Correct the credentials or the role's policy;
    retrying with the same credentials does not help. Typical status:
    SERVICE_CALL_NOT_AUTHORIZED_ERROR; also CLIENT_AUTH_CALL_FAILED (the application's credential
    provider failed) and IOT_FAILED (AWS IoT).
    """


class Throttled(ServiceError):
    """The service's limit on the number of calls or connections was exceeded.

    A producer retries automatically, with growing pauses. `get_media()` and `list_fragments()`
    raise this exception: retry after a pause, and make fewer calls. Typical status:
    SERVICE_CALL_CLIENT_LIMIT_ERROR.
    """


class ConnectionFailed(KvsError, ConnectionError):
    """The service could not be reached: no network, unknown host, refused or broken connection.

    A producer retries automatically. It raises this exception only after its last attempt, or if
    `recover_on_error` is False. Check the network, the proxy and endpoint_url. It is safe to retry.
    Typical status: SERVICE_CALL_UNKNOWN_ERROR; also CURL_PERFORM_FAILED (AWS IoT's credential
    endpoint).
    """


class TimedOut(KvsError, TimeoutError):
    """A wait or a call took longer than its time limit.

    Raised by `wait_ready()`, and by `put_frame()` of an offline stream whose buffer stays full.
    Also raised at the end of a `with` block if frames were not sent or not acknowledged in time.
    The `detail` contains the last call's failure: remove its cause first, then try a longer time
    limit. Typical status: OPERATION_TIMED_OUT; also SERVICE_CALL_TIMEOUT_ERROR and
    PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED.
    """


class StorageError(KvsError, OSError):
    """A file or folder cannot be opened, read or written, or a content store is damaged.

    Raised for a missing media file, for output files and credentials files, and for the content
    stores of `StorageInfo`. Check the path, its permissions and the disk. Typical statuses:
    OPEN_FILE_FAILED, READ_FILE_FAILED, WRITE_TO_FILE_FAILED, DIRECTORY_... and HEAP_...
    """


class BufferFull(KvsError, MemoryError):
    """The buffer has no space for a frame.

    `put_frame()` raises this if the stream neither waits for space nor drops older frames; the new
    frame was not accepted. The end of a `with` block raises it if accepted frames were dropped from
    a full buffer. Put fewer frames, or increase `storage_size`. An offline stream waits for space
    instead. Typical status: STORE_OUT_OF_MEMORY.
    """


class StreamClosed(KvsError, RuntimeError):
    """A stream, producer or source is closed, or belongs to another process or event loop.

    It was stopped or closed, it was interrupted by an exception such as KeyboardInterrupt, or it
    belongs to another process (after a fork) or another event loop. Create a new one in the process
    or loop that needs it. Typical status: STREAM_HAS_BEEN_STOPPED; also INVALID_OPERATION and
    CLIENT_BEING_SHUTDOWN.
    """


class InvalidFrame(KvsError, ValueError, TypeError):
    """A frame, metadata item or image event is invalid and was not stored.

    `put_frame()` and similar methods raise this; the frame was not accepted, and the stream can be
    used further. The end of a `with` block raises it for a frame that proved invalid only later.
    Correct the frame's data, times, track or flags; the same frame would be refused again. Typical
    statuses: MKV_INVALID_FRAME_DATA, MKV_INVALID_FRAME_TIMESTAMP, CONTENT_VIEW_INVALID_TIMESTAMP,
    MAX_FRAGMENT_METADATA_COUNT, and INVALID_ARG for a wrong type.
    """


class InvalidMedia(KvsError, ValueError):
    """A media file, a Matroska stream or codec private data is damaged, or KVS does not support it.

    Raised by `put_media()`, by the readers of `kvsproducer.mkv` and `kvsproducer.codecs`, and for a
    stream's codec private data. Convert the media, or use an intact copy. Typical statuses:
    FORMAT_ERROR, UNEXPECTED_EOF, MKV_INVALID_H264_H265_CPD, and ACK_ERR_INVALID_MKV_DATA with the
    `offset`.
    """


class InvalidConfiguration(KvsError, ValueError, TypeError):
    """An option or argument is wrong, or a required package is not installed.

    Raised by the call that gets the value: a constructor, `from_dict()` or `open_stream()`. The
    `detail` names the option, its value and what is allowed. Correct the program; retrying does not
    help. Typical statuses: INVALID_ARG, NULL_ARG, INVALID_DURATION_VALUE, NOT_FOUND (an extra is
    not installed), and the statuses for the limits of single options.
    """


class InternalError(KvsError, RuntimeError):
    """Something failed inside the process: a callback of the program, threads, or this package.

    If a callback raised an exception, it is in `__cause__` or in the log. If the fault is in this
    package, please report it as a bug. Typical statuses: INTERNAL_ERROR and CREATE_THREAD_FAILED.
    """


_S = StatusCode
_STATUSES: Final[dict[type[KvsError], tuple[StatusCode, ...]]] = {
    StreamNotFound: (
        _S.STREAM_IS_BEING_DELETED_ERROR,
        _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR,
        _S.SERVICE_CALL_RESOURCE_DELETED_ERROR,
        _S.ACK_ERR_STREAM_DELETED,
    ),
    NotAuthorized: (
        _S.IOT_FAILED,
        _S.IOT_EXPIRATION_OCCURS_IN_PAST,
        _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR,
        _S.GET_STREAMING_TOKEN_CALL_FAILED,
        _S.CLIENT_AUTH_CALL_FAILED,
        _S.GET_CLIENT_TOKEN_CALL_FAILED,
        _S.CLIENT_PROVISION_CALL_FAILED,
        _S.INVALID_TOKEN_EXPIRATION,
        _S.ACK_ERR_KMS_KEY_ACCESS_DENIED,
    ),
    Throttled: (_S.SERVICE_CALL_CLIENT_LIMIT_ERROR,),
    ServiceError: (
        _S.INVALID_API_CALL_RETURN_JSON,
        _S.INVALID_DESCRIBE_STREAM_RETURN_JSON,
        _S.IOT_INVALID_RESPONSE_LENGTH,
        _S.IOT_NULL_AWS_CREDS,
        _S.DESCRIBE_STREAM_CALL_FAILED,
        _S.INVALID_DESCRIBE_STREAM_RESPONSE,
        _S.SERVICE_CALL_INVALID_ARG_ERROR,
        _S.SERVICE_CALL_DEVICE_NOT_FOUND_ERROR,
        _S.SERVICE_CALL_DEVICE_NOT_PROVISIONED_ERROR,
        _S.CREATE_STREAM_CALL_FAILED,
        _S.GET_STREAMING_ENDPOINT_CALL_FAILED,
        _S.INVALID_URI_LEN,
        _S.PUT_STREAM_CALL_FAILED,
        _S.SERVICE_CALL_RESOURCE_IN_USE_ERROR,
        _S.SERVICE_CALL_DEVICE_LIMIT_ERROR,
        _S.SERVICE_CALL_STREAM_LIMIT_ERROR,
        _S.TAG_STREAM_CALL_FAILED,
        _S.INVALID_CREATE_STREAM_RESPONSE,
        _S.CREATE_CLIENT_CALL_FAILED,
        _S.TAG_CLIENT_CALL_FAILED,
        _S.INVALID_CREATE_DEVICE_RESPONSE,
        _S.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW,
        _S.INVALID_ACK_KEY_START,
        _S.INVALID_ACK_DUPLICATE_KEY_NAME,
        _S.INVALID_ACK_INVALID_VALUE_START,
        _S.INVALID_ACK_INVALID_VALUE_END,
        _S.INVALID_PARSED_ACK_TYPE,
        _S.INVALID_FRAGMENT_ACK_TYPE,
        _S.ACK_ERR_STREAM_READ_ERROR,
        _S.ACK_ERR_FRAGMENT_SIZE_REACHED,
        _S.ACK_ERR_FRAGMENT_DURATION_REACHED,
        _S.ACK_ERR_CONNECTION_DURATION_REACHED,
        _S.ACK_ERR_FRAGMENT_TIMECODE_NOT_MONOTONIC,
        _S.ACK_ERR_MULTI_TRACK_MKV,
        _S.ACK_ERR_INVALID_MKV_DATA,
        _S.ACK_ERR_INVALID_PRODUCER_TIMESTAMP,
        _S.ACK_ERR_STREAM_NOT_ACTIVE,
        _S.ACK_ERR_KMS_KEY_DISABLED,
        _S.ACK_ERR_KMS_KEY_VALIDATION_ERROR,
        _S.ACK_ERR_KMS_KEY_UNAVAILABLE,
        _S.ACK_ERR_KMS_KEY_INVALID_USAGE,
        _S.ACK_ERR_KMS_KEY_INVALID_STATE,
        _S.ACK_ERR_KMS_KEY_NOT_FOUND,
        _S.ACK_ERR_ACK_INTERNAL_ERROR,
        _S.ACK_ERR_FRAGMENT_ARCHIVAL_ERROR,
        _S.ACK_ERR_UNKNOWN_ACK_ERROR,
        _S.MISSING_ERR_ACK_ID,
        _S.INVALID_ACK_SEGMENT_LEN,
        _S.ACK_ERR_FRAGMENT_METADATA_LIMIT_REACHED,
        _S.ACK_ERR_TRACK_NUMBER_MISMATCH,
        _S.ACK_ERR_FRAMES_MISSING_FOR_TRACK,
        _S.ACK_ERR_MORE_THAN_ALLOWED_TRACKS_FOUND,
    ),
    ConnectionFailed: (
        _S.CURL_INIT_FAILED,
        _S.CONTINUOUS_RETRY_RESET_FAILED,
        _S.CURL_PERFORM_FAILED,
        _S.SERVICE_CALL_UNKNOWN_ERROR,
    ),
    TimedOut: (
        _S.OPERATION_TIMED_OUT,
        _S.NO_MORE_DATA_AVAILABLE,
        _S.SERVICE_CALL_TIMEOUT_ERROR,
        _S.PERSISTED_ACK_TIMEOUT,
        _S.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED,
    ),
    BufferFull: (
        _S.HEAP_REALLOC_ERROR,
        _S.STORE_OUT_OF_MEMORY,
    ),
    StreamClosed: (
        _S.INVALID_OPERATION,
        _S.STREAM_BEING_SHUTDOWN,
        _S.CLIENT_BEING_SHUTDOWN,
        _S.SEMAPHORE_OPERATION_AFTER_SHUTDOWN,
        _S.SEMAPHORE_ACQUIRE_WHEN_LOCKED,
        _S.END_OF_STREAM,
        _S.STREAM_HAS_BEEN_STOPPED,
        _S.CLIENT_FREED_BEFORE_STREAM,
        _S.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED,
        _S.UPLOAD_HANDLE_ABORTED,
        _S.STREAM_SHUTTING_DOWN,
        _S.CLIENT_SHUTTING_DOWN,
    ),
    InvalidFrame: (
        _S.CONTENT_VIEW_NO_MORE_ITEMS,
        _S.CONTENT_VIEW_INVALID_TIMESTAMP,
        _S.MKV_INVALID_FRAME_DATA,
        _S.MKV_INVALID_FRAME_TIMESTAMP,
        _S.MKV_NUMBER_TOO_BIG,
        _S.MKV_MAX_FRAME_TIMECODE,
        _S.MKV_LARGE_FRAME_TIMECODE,
        _S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA,
        _S.MKV_INVALID_AVCC_NALU_IN_FRAME_DATA,
        _S.MKV_PTS_DTS_ARE_NOT_SAME,
        _S.MKV_INVALID_TAG_NAME_LENGTH,
        _S.MKV_INVALID_TAG_VALUE_LENGTH,
        _S.MKV_INVALID_GENERATOR_STATE_TAGS,
        _S.MKV_TRACK_INFO_NOT_FOUND,
        _S.MAX_FRAGMENT_METADATA_COUNT,
        _S.INVALID_METADATA_NAME,
        _S.END_OF_FRAGMENT_FRAME_INVALID_STATE,
        _S.SETTING_KEY_FRAME_FLAG_WHILE_USING_EOFR,
        _S.MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED,
        _S.MULTIPLE_CONSECUTIVE_EOFR,
        _S.DUPLICATE_STREAM_EVENT_TYPE,
        _S.STREAM_NOT_STARTED,
        _S.INVALID_IMAGE_PREFIX_LENGTH,
        _S.INVALID_IMAGE_METADATA_KEY_LENGTH,
        _S.INVALID_IMAGE_METADATA_VALUE_LENGTH,
    ),
    InvalidMedia: (
        _S.UNEXPECTED_EOF,
        _S.FORMAT_ERROR,
        _S.MKV_INVALID_ANNEXB_NALU_IN_CPD,
        _S.MKV_INVALID_H264_H265_CPD,
        _S.MKV_INVALID_H264_H265_SPS_WIDTH,
        _S.MKV_INVALID_H264_H265_SPS_HEIGHT,
        _S.MKV_INVALID_H264_H265_SPS_NALU,
        _S.MKV_INVALID_BIH_CPD,
        _S.MKV_INVALID_HEVC_NALU_COUNT,
        _S.MKV_INVALID_HEVC_FORMAT,
        _S.MKV_HEVC_SPS_NALU_MISSING,
        _S.MKV_INVALID_HEVC_SPS_NALU_SIZE,
        _S.MKV_INVALID_HEVC_SPS_CHROMA_FORMAT_IDC,
        _S.MKV_INVALID_HEVC_SPS_RESERVED,
        _S.MKV_MIN_ANNEX_B_CPD_SIZE,
        _S.MKV_ANNEXB_CPD_MISSING_NALUS,
        _S.MKV_INVALID_ANNEXB_CPD_NALUS,
        _S.MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX,
        _S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG,
        _S.MKV_INVALID_AAC_CPD,
        _S.MKV_INVALID_AMS_ACM_CPD,
        _S.MKV_MISSING_SPS_FROM_H264_CPD,
        _S.MKV_MISSING_PPS_FROM_H264_CPD,
        _S.BIT_READER_OUT_OF_RANGE,
        _S.BIT_READER_INVALID_SIZE,
    ),
    InvalidConfiguration: (
        _S.NULL_ARG,
        _S.INVALID_ARG,
        _S.INVALID_ARG_LEN,
        _S.NOT_IMPLEMENTED,
        _S.NOT_FOUND,
        _S.INVALID_THREAD_PARAMS_VERSION,
        _S.HEAP_FLAGS_ERROR,
        _S.INVALID_ALLOCATION_SIZE,
        _S.MIN_PROFILER_BUFFER,
        _S.MAX_CALLBACK_CHAIN,
        _S.INVALID_PLATFORM_CALLBACKS_VERSION,
        _S.INVALID_PRODUCER_CALLBACKS_VERSION,
        _S.INVALID_STREAM_CALLBACKS_VERSION,
        _S.INVALID_AUTH_CALLBACKS_VERSION,
        _S.INVALID_API_CALLBACKS_VERSION,
        _S.INVALID_AWS_CREDENTIALS_VERSION,
        _S.MAX_REQUEST_HEADER_COUNT,
        _S.MAX_REQUEST_HEADER_NAME_LEN,
        _S.MAX_REQUEST_HEADER_VALUE_LEN,
        _S.CURL_LIBRARY_INIT_FAILED,
        _S.HMAC_GENERATION_ERROR,
        _S.MAX_ROLE_ALIAS_LEN_EXCEEDED,
        _S.MAX_USER_AGENT_NAME_POSTFIX_LEN_EXCEEDED,
        _S.MAX_CUSTOM_USER_AGENT_LEN_EXCEEDED,
        _S.INVALID_USER_AGENT_LENGTH,
        _S.INVALID_ENDPOINT_CACHING_PERIOD,
        _S.IOT_EXPIRATION_PARSING_FAILED,
        _S.DUPLICATE_PRODUCER_CALLBACK_FREE_FUNC,
        _S.DUPLICATE_STREAM_CALLBACK_FREE_FUNC,
        _S.DUPLICATE_AUTH_CALLBACK_FREE_FUNC,
        _S.DUPLICATE_API_CALLBACK_FREE_FUNC,
        _S.MAX_IOT_THING_NAME_LENGTH,
        _S.IOT_CREATE_LWS_CONTEXT_FAILED,
        _S.INVALID_CA_CERT_PATH,
        _S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_LENGTH,
        _S.FILE_CREDENTIAL_PROVIDER_INVALID_FILE_FORMAT,
        _S.IOT_INVALID_URI_LEN,
        _S.TIMESTAMP_STRING_UNRECOGNIZED_FORMAT,
        _S.MIN_CONTENT_VIEW_ITEMS,
        _S.INVALID_CONTENT_VIEW_DURATION,
        _S.MKV_INVALID_CLUSTER_DURATION,
        _S.MKV_INVALID_CONTENT_TYPE_LENGTH,
        _S.MKV_INVALID_CODEC_ID_LENGTH,
        _S.MKV_INVALID_TRACK_NAME_LENGTH,
        _S.MKV_INVALID_CODEC_PRIVATE_LENGTH,
        _S.MKV_CODEC_PRIVATE_NULL,
        _S.MKV_INVALID_TIMECODE_SCALE,
        _S.MKV_BOTH_ANNEXB_AND_AVCC_SPECIFIED,
        _S.MKV_INVALID_SEGMENT_UUID,
        _S.MKV_INVALID_TRACK_UID,
        _S.MKV_INVALID_CLIENT_ID_LENGTH,
        _S.MKV_INVALID_PARENT_TYPE,
        _S.INVALID_BASE64_ENCODE,
        _S.INVALID_BASE,
        _S.INVALID_DIGIT,
        _S.INT_OVERFLOW,
        _S.EMPTY_STRING,
        _S.PATH_TOO_LONG,
        _S.STRFTIME_FALIED,
        _S.MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED,
        _S.UTIL_MAX_TAG_COUNT,
        _S.UTIL_INVALID_TAG_VERSION,
        _S.UTIL_TAGS_COUNT_NON_ZERO_TAGS_NULL,
        _S.UTIL_INVALID_TAG_NAME_LEN,
        _S.UTIL_INVALID_TAG_VALUE_LEN,
        _S.INVALID_TIMER_PERIOD_VALUE,
        _S.MAX_STREAM_COUNT,
        _S.MIN_STREAM_COUNT,
        _S.INVALID_DEVICE_NAME_LENGTH,
        _S.INVALID_DEVICE_INFO_VERSION,
        _S.MAX_TAG_COUNT,
        _S.DEVICE_FINGERPRINT_LENGTH,
        _S.INVALID_CALLBACKS_VERSION,
        _S.INVALID_STREAM_INFO_VERSION,
        _S.INVALID_STREAM_NAME_LENGTH,
        _S.INVALID_STORAGE_SIZE,
        _S.INVALID_ROOT_DIRECTORY_LENGTH,
        _S.INVALID_SPILL_RATIO,
        _S.INVALID_STORAGE_INFO_VERSION,
        _S.SERVICE_CALL_CALLBACKS_MISSING,
        _S.INVALID_AUTH_LEN,
        _S.INVALID_TAG_VERSION,
        _S.DEVICE_TAGS_COUNT_NON_ZERO_TAGS_NULL,
        _S.INVALID_STREAM_DESCRIPTION_VERSION,
        _S.INVALID_TAG_NAME_LEN,
        _S.INVALID_TAG_VALUE_LEN,
        _S.INVALID_FRAGMENT_ACK_VERSION,
        _S.DUPLICATE_STREAM_NAME,
        _S.INVALID_RETENTION_PERIOD,
        _S.INVALID_STREAM_METRICS_VERSION,
        _S.INVALID_CLIENT_METRICS_VERSION,
        _S.TRACK_INFO_MISSING,
        _S.MAX_TRACK_COUNT_EXCEEDED,
        _S.OFFLINE_MODE_WITH_ZERO_RETENTION,
        _S.INVALID_CERT_PATH_LENGTH,
        _S.DUPLICATE_TRACK_ID_FOUND,
        _S.INVALID_CLIENT_INFO_VERSION,
        _S.INVALID_CLIENT_ID_STRING_LENGTH,
        _S.NON_ALIGNED_HEAP_WITH_IN_CONTENT_STORE_ALLOCATORS,
        _S.STATE_MACHINE_NAME_LEN_INVALID,
        _S.INVALID_DURATION_VALUE,
    ),
    StorageError: (
        _S.NOT_ENOUGH_MEMORY,
        _S.BUFFER_TOO_SMALL,
        _S.INVALID_HANDLE_ERROR,
        _S.OPEN_FILE_FAILED,
        _S.READ_FILE_FAILED,
        _S.WRITE_TO_FILE_FAILED,
        _S.HEAP_NOT_INITIALIZED,
        _S.HEAP_CORRUPTED,
        _S.HEAP_VRAM_LIB_MISSING,
        _S.HEAP_VRAM_LIB_REOPEN,
        _S.HEAP_VRAM_INIT_FUNC_SYMBOL,
        _S.HEAP_VRAM_ALLOC_FUNC_SYMBOL,
        _S.HEAP_VRAM_FREE_FUNC_SYMBOL,
        _S.HEAP_VRAM_LOCK_FUNC_SYMBOL,
        _S.HEAP_VRAM_UNLOCK_FUNC_SYMBOL,
        _S.HEAP_VRAM_UNINIT_FUNC_SYMBOL,
        _S.HEAP_VRAM_GETMAX_FUNC_SYMBOL,
        _S.HEAP_DIRECT_MEM_INIT,
        _S.HEAP_VRAM_INIT_FAILED,
        _S.HEAP_LIBRARY_FREE_FAILED,
        _S.HEAP_VRAM_ALLOC_FAILED,
        _S.HEAP_VRAM_FREE_FAILED,
        _S.HEAP_VRAM_MAP_FAILED,
        _S.HEAP_VRAM_UNMAP_FAILED,
        _S.HEAP_VRAM_UNINIT_FAILED,
        _S.HEAP_FILE_HEAP_FILE_CORRUPT,
        _S.FILE_LOGGER_INDEX_FILE_TOO_LARGE,
        _S.FILE_CREDENTIAL_PROVIDER_OPEN_FILE_FAILED,
        _S.DIRECTORY_OPEN_FAILED,
        _S.UNKNOWN_DIR_ENTRY_TYPE,
        _S.REMOVE_DIRECTORY_FAILED,
        _S.REMOVE_FILE_FAILED,
        _S.REMOVE_LINK_FAILED,
        _S.DIRECTORY_ACCESS_DENIED,
        _S.DIRECTORY_MISSING_PATH,
        _S.DIRECTORY_ENTRY_STAT_ERROR,
        _S.FILE_LOGGER_INDEX_FILE_INVALID_SIZE,
        _S.ALLOCATION_SIZE_SMALLER_THAN_REQUESTED,
        _S.VIEW_ITEM_SIZE_GREATER_THAN_ALLOCATION,
    ),
    InternalError: (
        _S.SUCCESS,
        _S.INTERNAL_ERROR,
        _S.CREATE_THREAD_FAILED,
        _S.THREAD_NOT_ENOUGH_RESOURCES,
        _S.THREAD_INVALID_ARG,
        _S.THREAD_PERMISSIONS,
        _S.THREAD_DEADLOCKED,
        _S.THREAD_DOES_NOT_EXIST,
        _S.JOIN_THREAD_FAILED,
        _S.WAIT_FAILED,
        _S.CANCEL_THREAD_FAILED,
        _S.THREAD_IS_NOT_JOINABLE,
        _S.DETACH_THREAD_FAILED,
        _S.THREAD_ATTR_INIT_FAILED,
        _S.THREAD_ATTR_SET_STACK_SIZE_FAILED,
        _S.MEMORY_NOT_FREED,
        _S.STOP_CALLBACK_CHAIN,
        _S.CONTENT_VIEW_INVALID_INDEX,
        _S.INVALID_CONTENT_VIEW_LENGTH,
        _S.EXPONENTIAL_BACKOFF_INVALID_STATE,
        _S.EXPONENTIAL_BACKOFF_RETRIES_EXHAUSTED,
        _S.THREADPOOL_MAX_COUNT,
        _S.THREADPOOL_INTERNAL_ERROR,
        _S.HASH_KEY_NOT_PRESENT,
        _S.HASH_KEY_ALREADY_PRESENT,
        _S.HASH_ENTRY_ITERATION_ABORT,
        _S.TIMER_QUEUE_STOP_SCHEDULING,
        _S.INVALID_TIMER_COUNT_VALUE,
        _S.MAX_TIMER_COUNT_REACHED,
        _S.TIMER_QUEUE_SHUTDOWN,
        _S.INVALID_STREAM_STATE,
        _S.STREAM_READY_CALLBACK_FAILED,
        _S.INVALID_CUSTOM_DATA,
        _S.CLIENT_READY_CALLBACK_FAILED,
        _S.INVALID_CLIENT_READY_STATE,
        _S.STATE_MACHINE_STATE_NOT_FOUND,
        _S.INVALID_STREAM_READY_STATE,
        _S.AWAITING_PERSISTED_ACK,
    ),
}
"""The statuses of each class. Every status is listed once."""

_CAUSES: Final = (NotAuthorized, Throttled, ConnectionFailed, TimedOut)  # of a call given up

BY_PLACE: Final[dict[StatusCode, tuple[type[KvsError], ...]]] = {
    _S.INVALID_ARG: (InvalidFrame, StorageError),
    _S.READ_FILE_FAILED: (InvalidMedia,),
    _S.INVALID_OPERATION: (InvalidConfiguration, ConnectionFailed, StorageError),
    _S.NOT_FOUND: (StorageError,),
    _S.CURL_PERFORM_FAILED: (NotAuthorized, ServiceError, TimedOut),
    _S.MKV_INVALID_FRAME_DATA: (InvalidMedia,),
    _S.MKV_INVALID_FRAME_TIMESTAMP: (InvalidMedia,),
    _S.MKV_ANNEXB_CPD_MISSING_NALUS: (InvalidFrame,),
    _S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG: (InvalidFrame,),
    _S.MKV_INVALID_AAC_CPD: (InvalidFrame,),
    _S.MKV_MISSING_SPS_FROM_H264_CPD: (InvalidFrame,),
    _S.MKV_MISSING_PPS_FROM_H264_CPD: (InvalidFrame,),
    _S.DESCRIBE_STREAM_CALL_FAILED: _CAUSES,
    _S.SERVICE_CALL_INVALID_ARG_ERROR: (InvalidConfiguration,),
    _S.CREATE_STREAM_CALL_FAILED: _CAUSES,
    _S.GET_STREAMING_ENDPOINT_CALL_FAILED: _CAUSES,
    _S.GET_STREAMING_TOKEN_CALL_FAILED: (ServiceError, *_CAUSES[1:]),
    _S.CREATE_CLIENT_CALL_FAILED: _CAUSES,
    _S.CLIENT_AUTH_CALL_FAILED: (ServiceError, *_CAUSES[1:]),
    _S.ACK_ERR_FRAGMENT_SIZE_REACHED: (InvalidMedia,),
    _S.ACK_ERR_FRAGMENT_DURATION_REACHED: (InvalidMedia,),
    _S.ACK_ERR_INVALID_MKV_DATA: (InvalidMedia,),
    _S.TRACK_INFO_MISSING: (InvalidMedia,),
    _S.ACK_ERR_FRAMES_MISSING_FOR_TRACK: (InvalidMedia,),
}
"""Other classes that a status can have. The code that raises it chooses the class that fits."""

_CLASSES: Final = {status: cls for cls, group in _STATUSES.items() for status in group}


def error_class(status: StatusCode) -> type[KvsError]:
    """Return the usual exception class for `status`. `BY_PLACE` has the less usual ones."""
    return _CLASSES[status]


def kvs_error(
    status: StatusCode,
    detail: str = "",
    *,
    stream: str | None = None,
    upload: int | None = None,
    timecode: int | None = None,
    offset: int | None = None,
) -> KvsError:
    """Create the exception for `status`, without raising it. See `KvsError` for the arguments."""
    return _CLASSES[status](
        status, detail, stream=stream, upload=upload, timecode=timecode, offset=offset
    )


def with_detail(error: KvsError, detail: str, *, stream: str | None = None) -> KvsError:
    """Create an error like `error` (class, status, action) with another detail and stream."""
    return type(error)(error.status, detail, stream=stream, action=error.own_action)
