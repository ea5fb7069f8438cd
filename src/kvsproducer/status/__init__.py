"""Status codes of AWS's Error Code Reference, their texts, and the exceptions that carry them.

`codes` has the numbers, `errors` the exception classes, `catalogue` the texts (read on first use),
and `service_errors` the names that the service uses. Layer 0 (see ARCHITECTURE.md): it imports no
other subpackage of `kvsproducer`.
"""

from kvsproducer.status.codes import StatusCode
from kvsproducer.status.errors import (
    BufferFull,
    ConnectionFailed,
    InternalError,
    InvalidConfiguration,
    InvalidFrame,
    InvalidMedia,
    KvsError,
    NotAuthorized,
    ServiceError,
    StorageError,
    StreamClosed,
    StreamNotFound,
    Throttled,
    TimedOut,
    error_class,
    kvs_error,
    with_detail,
)

__all__ = [
    "StatusCode",
    "KvsError",
    "BufferFull",
    "ConnectionFailed",
    "InternalError",
    "InvalidConfiguration",
    "InvalidFrame",
    "InvalidMedia",
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
