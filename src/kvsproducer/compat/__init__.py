"""C-style callbacks: chains of functions that are told, asked, or may fail a `put_frame`.

For programs that come from AWS's C producer; events (`on_event`, `events()`) are the Python way.
`structures` has the five sets of functions, `provider` the chains that a user builds, `chains`
what a producer does with them. See docs/how-to/callbacks.md.
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
