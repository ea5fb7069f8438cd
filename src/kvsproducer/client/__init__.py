"""The producer client as a sans-I/O state machine: it has no clock, sockets, threads or files.

Times and random numbers are arguments.

Other packages import everything below from here. `client` describes the four kinds of traffic, and
`stream` describes how a frame passes through the client.
"""

from kvsproducer.client.ack import AckParser, FragmentAck
from kvsproducer.client.buffer.admission import WouldBlock
from kvsproducer.client.buffer.ledger import FrameAccount
from kvsproducer.client.client import Client
from kvsproducer.client.device_info import ClientInfo, DeviceInfo, StorageInfo, StorageType
from kvsproducer.client.effects import (
    AuthInfo,
    AuthType,
    Call,
    ConnectionTroubled,
    CreateDevice,
    CreateStream,
    DataAvailable,
    DescribeStream,
    Effect,
    GetSecurityToken,
    GetStreamingEndpoint,
    GetStreamingToken,
    PutStream,
    SpaceAvailable,
    StreamDescription,
    StreamStatus,
    TagStream,
    UploadAborted,
)
from kvsproducer.client.events import (
    AckRejected,
    BufferDurationPressure,
    ClientErrorReported,
    ClientReady,
    ClockSkewDetected,
    ConnectionStale,
    DropReason,
    Event,
    FragmentAcked,
    FragmentDropped,
    FragmentStored,
    FrameDropped,
    FrameSkipped,
    StoragePressure,
    StreamEnded,
    StreamErrorReported,
    StreamLatencyPressure,
    StreamReady,
    StreamShutdown,
    StreamStateChanged,
    TimeJumped,
    TimestampCorrected,
    TrackResumed,
    TrackSilent,
    UploadStarted,
    merge_events,
)
from kvsproducer.client.frame import Frame, FrameFlags
from kvsproducer.client.metadata import EventType
from kvsproducer.client.metrics import ClientMetrics, StreamCounters, StreamMetrics
from kvsproducer.client.retry import RetryPolicy
from kvsproducer.client.sender import ReadStatus
from kvsproducer.client.states import (
    CLIENT_STATES,
    STREAM_STATES,
    ClientState,
    On,
    StateMachine,
    StreamState,
    UploadState,
)
from kvsproducer.client.stream import Stream
from kvsproducer.client.stream_info import (
    FrameOrderMode,
    NalAdaptation,
    StorePressurePolicy,
    StreamInfo,
    StreamingType,
    ViewOverflowPolicy,
)
from kvsproducer.wire import AckType

__all__ = [
    # objects that do the work
    "Client",
    "Stream",
    "Frame",
    "FrameFlags",
    "ReadStatus",
    "WouldBlock",
    "RetryPolicy",
    "EventType",
    # descriptions and options
    "DeviceInfo",
    "StorageInfo",
    "StorageType",
    "ClientInfo",
    "StreamInfo",
    "StreamingType",
    "FrameOrderMode",
    "NalAdaptation",
    "StorePressurePolicy",
    "ViewOverflowPolicy",
    # effects
    "Effect",
    "Call",
    "GetSecurityToken",
    "CreateDevice",
    "DescribeStream",
    "CreateStream",
    "TagStream",
    "GetStreamingEndpoint",
    "GetStreamingToken",
    "PutStream",
    "DataAvailable",
    "SpaceAvailable",
    "UploadAborted",
    "ConnectionTroubled",
    "AuthInfo",
    "AuthType",
    "StreamDescription",
    "StreamStatus",
    # events
    "Event",
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
    "merge_events",
    # metrics and acks
    "FrameAccount",
    "StreamMetrics",
    "StreamCounters",
    "ClientMetrics",
    "FragmentAck",
    "AckParser",
    "AckType",
    # states
    "ClientState",
    "StreamState",
    "UploadState",
    "On",
    "StateMachine",
    "CLIENT_STATES",
    "STREAM_STATES",
]
