"""C-style callbacks: functions that observe events, answer service calls or fail `put_frame`.

Callbacks are for programs that were written for AWS's C producer. Other programs use events
(`on_event`, `events()`). `structures` has the five kinds of callback sets. `chains` has the
provider, which collects sets into chains (lists that are called in order), and the object that
calls the functions. See docs/how-to/callbacks.md.
"""

from kvsproducer.compat.chains import CallbacksProvider
from kvsproducer.compat.structures import (
    ApiCallbacks,
    AuthCallbacks,
    ClientShutdown,
    DeviceCertToToken,
    PlatformCallbacks,
    ProducerCallbacks,
    StreamCallbacks,
    StreamDataAvailable,
    stream_description,
)

__all__ = [
    "ApiCallbacks",
    "AuthCallbacks",
    "CallbacksProvider",
    "ClientShutdown",
    "DeviceCertToToken",
    "PlatformCallbacks",
    "ProducerCallbacks",
    "StreamCallbacks",
    "StreamDataAvailable",
    "stream_description",
]
