"""The producer shell: the sans-I/O core, driven against the real world.

Floor 4. `service` is botocore's side (credentials, signatures, control plane), `upload` aiohttp's
(PutMedia, both ways at once), `engine` ties them to one core client on an event loop; `Producer`
and `Stream` are the blocking surface, `aio` the asyncio twins. `results` is the border where
foreign errors become results.
"""

import kvsproducer.quiet  # noqa: F401  before anything logs
from kvsproducer.producer.callbacks import (
    ApiCallbacks,
    AuthCallbacks,
    CallbacksProvider,
    ClientShutdown,
    PlatformCallbacks,
    ProducerCallbacks,
    StreamCallbacks,
    StreamDataAvailable,
)
from kvsproducer.producer.clock import now
from kvsproducer.producer.logs import FileLogHandler
from kvsproducer.producer.producer import Producer
from kvsproducer.producer.service_config import Caching, IpFamily, ServiceConfig
from kvsproducer.producer.stream import Stream

__all__ = [
    "ApiCallbacks",
    "AuthCallbacks",
    "Caching",
    "CallbacksProvider",
    "ClientShutdown",
    "FileLogHandler",
    "IpFamily",
    "PlatformCallbacks",
    "Producer",
    "ProducerCallbacks",
    "ServiceConfig",
    "Stream",
    "StreamCallbacks",
    "StreamDataAvailable",
    "now",
]
