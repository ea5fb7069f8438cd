"""The Error Code Reference as data: status codes, their texts, and the exceptions that carry them.

Floor 0: imports nothing of ours. `codes` has the numbers, `errors` the exception tree, `catalogue`
the texts (read on first use) with lookup by name and by printed or correct value.
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
