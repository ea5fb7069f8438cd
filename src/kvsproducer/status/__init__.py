"""Status codes of AWS's Error Code Reference, their texts, and the exceptions that carry them.

`codes` has the numbers, `errors` the exception classes, `catalogue` the texts (read on first use),
`service_errors` the names that the service uses. Floor 0: it imports no other package of ours.
"""

from kvsproducer.status.codes import StatusCode
from kvsproducer.status.errors import (
    ClientError,
    CommonError,
    DurationError,
    HeapError,
    KvsError,
    MkvError,
    ProducerError,
    TraceError,
    UtilsError,
    ViewError,
    kvs_error,
)

__all__ = [
    "StatusCode",
    "KvsError",
    "ClientError",
    "CommonError",
    "DurationError",
    "HeapError",
    "MkvError",
    "ProducerError",
    "TraceError",
    "UtilsError",
    "ViewError",
    "kvs_error",
]
