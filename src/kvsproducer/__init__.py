"""kvsproducer: a producer SDK for Amazon Kinesis Video Streams.

    import kvsproducer as kvs

    kvs.put_media("clip.mp4", "front-door")

These names are the public surface, with those of `kvsproducer.aio`, `kvsproducer.mkv`,
`kvsproducer.heap`, `kvsproducer.endpoint` and `kvsproducer.testing`; nothing else is. Importing
this package loads neither botocore nor aiohttp nor PyAV: they come with their first use.
"""

import logging

from kvsproducer.client import (
    AckRejected,
    BufferDurationPressure,
    ClientErrorReported,
    ClientInfo,
    ClientMetrics,
    ClientReady,
    ConnectionStale,
    DeviceInfo,
    DropReason,
    Event,
    EventType,
    FragmentAck,
    FragmentAcked,
    FragmentDropped,
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
    StreamClosed,
    StreamErrorReported,
    StreamInfo,
    StreamingType,
    StreamLatencyPressure,
    StreamMetrics,
    StreamReady,
    StreamShutdown,
    StreamState,
    StreamStateChanged,
    UploadStarted,
    ViewOverflowPolicy,
)
from kvsproducer.mkv import FrameFlags, TrackInfo, TrackType
from kvsproducer.producer import Producer, Stream, now
from kvsproducer.reader import (
    FragmentSummary,
    ReadFragment,
    ReadFrame,
    get_media,
    list_fragments,
)
from kvsproducer.sources import PutResult, put_media
from kvsproducer.status import (
    ClientError,
    CommonError,
    DurationError,
    HeapError,
    KvsError,
    MkvError,
    ProducerError,
    StatusCode,
    TraceError,
    UtilsError,
    ViewError,
)
from kvsproducer.status.explain import Explanation, explain
from kvsproducer.version import VERSION
from kvsproducer.wire import AckType

__all__ = [
    # put
    "Producer",
    "Stream",
    "Frame",
    "FrameFlags",
    "now",
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
    "ConnectionStale",
    "DropReason",
    "FragmentAcked",
    "FragmentDropped",
    "FrameDropped",
    "FrameSkipped",
    "StoragePressure",
    "StreamClosed",
    "StreamErrorReported",
    "StreamLatencyPressure",
    "StreamReady",
    "StreamShutdown",
    "StreamStateChanged",
    "UploadStarted",
    # read back
    "get_media",
    "list_fragments",
    "ReadFragment",
    "ReadFrame",
    "FragmentSummary",
    # errors
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
    "explain",
    "Explanation",
]

__version__ = VERSION

# Quiet until the application configures logging: a library does not write to its user's console.
logging.getLogger(__name__).addHandler(logging.NullHandler())
