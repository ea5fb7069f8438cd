"""kvsproducer: a producer SDK for Amazon Kinesis Video Streams.

    import kvsproducer as kvs

    kvs.put_media("clip.mp4", "front-door")

The public API is the names in `__all__`, and the names of `kvsproducer.aio`, `kvsproducer.mkv`,
`kvsproducer.codecs`, `kvsproducer.client`, `kvsproducer.compat`, `kvsproducer.heap`,
`kvsproducer.client.buffer.view`, `kvsproducer.duration`, `kvsproducer.utils`, `kvsproducer.trace`
and `kvsproducer.endpoint`. All other names are private. Importing this package does not load
botocore, aiohttp or PyAV, nor the modules of this package that use them. They are loaded on first
use.
"""

from kvsproducer.version import VERSION

# False. Type checkers know the name; `typing` takes longer to load than all of this; and editors
# (jedi) believe a plain False, so that they would complete no name.
TYPE_CHECKING = bool()  # noqa: UP018
if TYPE_CHECKING:
    from kvsproducer.client import (
        AckRejected,
        BufferDurationPressure,
        ClientErrorReported,
        ClientInfo,
        ClientMetrics,
        ClientReady,
        ClockSkewDetected,
        ConnectionStale,
        DeviceInfo,
        DropReason,
        Event,
        EventType,
        FragmentAck,
        FragmentAcked,
        FragmentDropped,
        FragmentStored,
        Frame,
        FrameAccount,
        FrameDropped,
        FrameOrderMode,
        FrameSkipped,
        NalAdaptation,
        StorageInfo,
        StoragePressure,
        StorageType,
        StorePressurePolicy,
        StreamEnded,
        StreamErrorReported,
        StreamInfo,
        StreamingType,
        StreamLatencyPressure,
        StreamMetrics,
        StreamReady,
        StreamShutdown,
        StreamState,
        StreamStateChanged,
        TimeJumped,
        TimestampCorrected,
        TrackResumed,
        TrackSilent,
        UploadStarted,
        ViewOverflowPolicy,
    )
    from kvsproducer.compat import (
        ApiCallbacks,
        AuthCallbacks,
        CallbacksProvider,
        ClientShutdown,
        PlatformCallbacks,
        ProducerCallbacks,
        StreamCallbacks,
        StreamDataAvailable,
    )
    from kvsproducer.compat.logs import FileLogHandler
    from kvsproducer.duration import Duration, Instant, ticks, to_datetime
    from kvsproducer.mkv import FrameFlags, TrackInfo, TrackType
    from kvsproducer.observe.metrics_server import Health, MetricsServer
    from kvsproducer.observe.tracing import traced
    from kvsproducer.producer import Producer, Stream
    from kvsproducer.reader import (
        FragmentSummary,
        ReadFragment,
        ReadFrame,
        get_media,
        list_fragments,
    )
    from kvsproducer.service.clock import now
    from kvsproducer.service.config import Caching, IpFamily, ServiceConfig
    from kvsproducer.service.connection import Connection
    from kvsproducer.service.credentials import (
        AwsCredentials,
        CredentialsProvider,
        FileCredentials,
        IotCredentials,
    )
    from kvsproducer.sources import PutResult, put_media
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
    )
    from kvsproducer.status.explain import Explanation, explain
    from kvsproducer.wire import AckType

__all__ = [
    # put
    "Producer",
    "Stream",
    "Frame",
    "FrameFlags",
    "Duration",
    "Instant",
    "now",
    "ticks",
    "to_datetime",
    "put_media",
    "PutResult",
    # describe
    "StreamInfo",
    "StreamingType",
    "NalAdaptation",
    "FrameOrderMode",
    "StorePressurePolicy",
    "ViewOverflowPolicy",
    "TrackInfo",
    "TrackType",
    "DeviceInfo",
    "StorageInfo",
    "StorageType",
    "ClientInfo",
    # reach the service
    "Connection",
    "ServiceConfig",
    "Caching",
    "IpFamily",
    # learn what became of it
    "FrameAccount",
    "StreamState",
    "StreamMetrics",
    "ClientMetrics",
    "AckType",
    "FragmentAck",
    "Event",
    "EventType",
    "AckRejected",
    "BufferDurationPressure",
    "ClientErrorReported",
    "ClientReady",
    "ClockSkewDetected",
    "ConnectionStale",
    "DropReason",
    "FragmentAcked",
    "FragmentDropped",
    "FragmentStored",
    "FrameDropped",
    "FrameSkipped",
    "StoragePressure",
    "StreamEnded",
    "StreamErrorReported",
    "StreamLatencyPressure",
    "StreamReady",
    "StreamShutdown",
    "StreamStateChanged",
    "TimeJumped",
    "TimestampCorrected",
    "TrackResumed",
    "TrackSilent",
    "UploadStarted",
    # logs and metrics
    "FileLogHandler",
    "MetricsServer",
    "Health",
    "traced",
    # C-style callbacks
    "ApiCallbacks",
    "AuthCallbacks",
    "CallbacksProvider",
    "ClientShutdown",
    "PlatformCallbacks",
    "ProducerCallbacks",
    "StreamCallbacks",
    "StreamDataAvailable",
    # credentials
    "AwsCredentials",
    "CredentialsProvider",
    "FileCredentials",
    "IotCredentials",
    # read back
    "get_media",
    "list_fragments",
    "ReadFragment",
    "ReadFrame",
    "FragmentSummary",
    # errors
    "StatusCode",
    "KvsError",
    "StreamNotFound",
    "NotAuthorized",
    "Throttled",
    "BufferFull",
    "StreamClosed",
    "InvalidFrame",
    "InvalidMedia",
    "InvalidConfiguration",
    "TimedOut",
    "ConnectionFailed",
    "ServiceError",
    "StorageError",
    "InternalError",
    "explain",
    "Explanation",
]

__version__ = VERSION

# Every name comes with its first use, so that importing the package costs next to nothing: a
# script's `--help` is quick, and who only reads pays for no producer. Name -> module; the rest of
# `__all__` is the client's.
_LATER = {
    "Duration": "kvsproducer.duration",
    "ticks": "kvsproducer.duration",
    "to_datetime": "kvsproducer.duration",
    "Instant": "kvsproducer.duration",
    "FrameFlags": "kvsproducer.mkv",
    "TrackInfo": "kvsproducer.mkv",
    "TrackType": "kvsproducer.mkv",
    "BufferFull": "kvsproducer.status",
    "ConnectionFailed": "kvsproducer.status",
    "InternalError": "kvsproducer.status",
    "InvalidConfiguration": "kvsproducer.status",
    "InvalidFrame": "kvsproducer.status",
    "InvalidMedia": "kvsproducer.status",
    "KvsError": "kvsproducer.status",
    "NotAuthorized": "kvsproducer.status",
    "ServiceError": "kvsproducer.status",
    "StorageError": "kvsproducer.status",
    "StreamClosed": "kvsproducer.status",
    "StreamNotFound": "kvsproducer.status",
    "Throttled": "kvsproducer.status",
    "TimedOut": "kvsproducer.status",
    "StatusCode": "kvsproducer.status",
    "Explanation": "kvsproducer.status.explain",
    "explain": "kvsproducer.status.explain",
    "AckType": "kvsproducer.wire",
    "AwsCredentials": "kvsproducer.service.credentials",
    "CredentialsProvider": "kvsproducer.service.credentials",
    "FileCredentials": "kvsproducer.service.credentials",
    "IotCredentials": "kvsproducer.service.credentials",
    "FileLogHandler": "kvsproducer.compat.logs",
    "ApiCallbacks": "kvsproducer.compat",
    "AuthCallbacks": "kvsproducer.compat",
    "CallbacksProvider": "kvsproducer.compat",
    "ClientShutdown": "kvsproducer.compat",
    "PlatformCallbacks": "kvsproducer.compat",
    "ProducerCallbacks": "kvsproducer.compat",
    "StreamCallbacks": "kvsproducer.compat",
    "StreamDataAvailable": "kvsproducer.compat",
    "Caching": "kvsproducer.service.config",
    "Connection": "kvsproducer.service.connection",
    "Health": "kvsproducer.observe.metrics_server",
    "IpFamily": "kvsproducer.service.config",
    "MetricsServer": "kvsproducer.observe.metrics_server",
    "Producer": "kvsproducer.producer",
    "ServiceConfig": "kvsproducer.service.config",
    "Stream": "kvsproducer.producer",
    "now": "kvsproducer.service.clock",
    "traced": "kvsproducer.observe.tracing",
    "FragmentSummary": "kvsproducer.reader",
    "ReadFragment": "kvsproducer.reader",
    "ReadFrame": "kvsproducer.reader",
    "get_media": "kvsproducer.reader",
    "list_fragments": "kvsproducer.reader",
    "PutResult": "kvsproducer.sources",
    "put_media": "kvsproducer.sources",
}

# Submodules that are imported on first use, so that `import kvsproducer` is enough to use them.
_SUBMODULES = frozenset(
    ("client", "codecs", "duration", "heap", "limits", "mkv", "status", "utils", "wire")
)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LATER.get(name, "kvsproducer.client"))
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
