"""C-style callbacks: chains of functions that observe events, answer calls or fail `put_frame`.

They are for programs written for AWS's C producer. Other programs use events (`on_event`,
`events()`). `structures` has the five sets of functions, and `chains` has the provider that
collects the sets and the object that calls them. See docs/how-to/callbacks.md.
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
