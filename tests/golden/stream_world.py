"""The simulation for the stream cases: the core, a service that answers at once, and a clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, TypeAlias

from common import input_bytes
from stream_config import device_info, stream_info

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.client.buffer.view import (
    BUFFERING,
    END_OF_FRAGMENT,
    FRAGMENT_START,
    PERSISTED,
    RECEIVED,
    SKIP,
    STREAM_START,
)
from kvsproducer.duration import ticks
from kvsproducer.mkv import MkvGenerator
from kvsproducer.status import KvsError, StatusCode

AWS_APPLICATION = "Kinesis Video SDK 1.1.0"
AWS_TITLE = "Kinesis Video SDK"
READ_ALL_BYTES = 65536
MS, SECOND = 10_000, 10_000_000
NEVER = 2**64 - 1

Record: TypeAlias = dict[str, Any]

_FLAGS = {"K": kvs.FrameFlags.KEY, "D": kvs.FrameFlags.DISCARDABLE, "I": kvs.FrameFlags.INVISIBLE}
_ITEM_FLAGS = (
    ("session_start", STREAM_START),
    ("fragment_start", FRAGMENT_START),
    ("buffering_ack", BUFFERING),
    ("received_ack", RECEIVED),
    ("persisted_ack", PERSISTED),
    ("skip", SKIP),
    ("fragment_end", END_OF_FRAGMENT),
)
_C_REASONS = (ev.DropReason.OVERFLOW, ev.DropReason.RESET)  # AWS's client reports no others
_APIS = {
    kvs.CreateDevice: "createDevice",
    kvs.DescribeStream: "describeStream",
    kvs.CreateStream: "createStream",
    kvs.TagStream: "tagResource",
    kvs.GetStreamingEndpoint: "getStreamingEndpoint",
    kvs.GetStreamingToken: "getStreamingToken",
    kvs.PutStream: "putStream",
}


class AwsClient(kvs.Client):
    """The client with AWS's application name, so that headers are equal byte for byte."""

    def _generator(self, info: kvs.StreamInfo) -> MkvGenerator:
        return MkvGenerator(
            info.tracks,
            content_type=info.content_type,
            timecode_scale=info.timecode_scale,
            key_frame_fragmentation=info.key_frame_fragmentation,
            fragment_duration=ticks(info.fragment_duration),
            absolute_timecodes=info.absolute_fragment_times,
            segment_uuid=info.segment_uuid,
            client_id=self.device_info.client_id,
            adaptation=info.nal_adaptation,
            application=AWS_APPLICATION,
            title=AWS_TITLE,
        )


_FORMS: dict[type[kvs.Event], Callable[[Any], Record]] = {
    ev.FragmentAcked: lambda event: {
        "event": "ack",
        "type": event.ack.ack_type.name,
        "timecode": event.ack.timecode,
        "seq": event.ack.sequence_number,
        "result": event.ack.result,
        "upload": None if event.upload == NEVER else event.upload,
    },
    ev.StreamReady: lambda _: {"event": "streamReady"},
    ev.StreamEnded: lambda event: {
        "event": "streamClosed",
        "value": NEVER if event.upload is None else event.upload,
    },
    ev.StreamShutdown: lambda event: {"event": "streamShutdown", "reset": int(event.reset)},
    ev.StreamLatencyPressure: lambda event: {"event": "latencyPressure", "value": event.duration},
    ev.BufferDurationPressure: lambda event: {
        "event": "bufferDurationPressure",
        "value": event.remaining,
    },
    ev.StoragePressure: lambda event: {"event": "storagePressure", "value": event.remaining},
    ev.ConnectionStale: lambda event: {"event": "connectionStale", "value": event.duration},
}


def _is_drop(event: kvs.Event) -> bool:
    return isinstance(event, ev.FrameDropped | ev.FragmentDropped)


class World:
    """The core, a service that answers at once, and a clock."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)
        self.now = config["clock"]["start"]
        self.client: AwsClient | None = None
        self.stream: kvs.Stream | None = None
        self.upload = self.named_upload = NEVER  # the newest one, and the one that a step names
        self.dropped = self.all_dropped = 0  # as AWS's client counts them, and all
        self.answers: dict[str, list[int]] = {}
        self.deferred: kvs.Call | None = None
        self.events: list[Record] = []
        self.status = 0
        self.op = ""  # operation of the current step
        self.waiting: Mapping[str, Any] | None = None  # a put that waits in its own thread
        self.background = 0  # the status of that put
        self.refused = False  # the core refused to open the stream
        self.raw: list[kvs.Event] = []  # events of the current step
        self.drops: list[kvs.Event] = []  # single drops, before neighbours are merged
        self.accepted: list[Mapping[str, Any]] = []  # accepted puts that `Right` has not read yet

    # --- the service ----------------------------------------------------------------------------
    def _result(self, api: str) -> int:
        override = self.answers.get(api)
        if override is None:
            return 200
        if override[1] == 1:
            del self.answers[api]
        elif override[1]:
            override[1] -= 1
        return override[0]

    def _answer(self, call: kvs.Call) -> object:
        config = self.config
        if isinstance(call, kvs.GetSecurityToken):
            return kvs.AuthInfo(
                expiration=config.get("security_token_expiration", NEVER),
                length=config.get("security_token_length", 10),
            )
        if isinstance(call, kvs.GetStreamingToken):
            return kvs.AuthInfo(
                expiration=config.get("token_expiration", NEVER),
                length=config.get("token_length", 10),
            )
        if isinstance(call, kvs.DescribeStream):
            return self._description()
        if isinstance(call, kvs.GetStreamingEndpoint):
            return "e" * config.get("endpoint_length", 10)
        if isinstance(call, kvs.CreateDevice):
            return "device"
        if isinstance(call, kvs.CreateStream):
            length = config.get("arn_length", 10)
            return None if length < 0 else "a" * length
        return None

    def _description(self) -> kvs.StreamDescription | None:
        config, status = self.config, kvs.StreamStatus.ACTIVE
        if config.get("describe_status", 0) is None or config.get("describe_null"):
            return None  # an answer without a body
        if "describe_status" in config:
            override = config["describe_status"]
            status = kvs.StreamStatus(override[0])
            if override[1] == 1:
                del config["describe_status"]
            elif override[1]:
                config["describe_status"] = [override[0], override[1] - 1]
        return kvs.StreamDescription("a" * config.get("arn_length", 10), status)

    def settle(self) -> None:
        """Answer calls until there are no more, and take the events."""
        assert self.client is not None
        for effect in islice(iter(self.client.poll_effect, None), 1000):
            if isinstance(effect, kvs.Call):
                self._serve(effect)
            elif isinstance(effect, kvs.SpaceAvailable):
                self._put_waiting()
            self.take_events()
        self.take_events()

    def _serve(self, call: kvs.Call) -> None:
        assert self.client is not None
        if isinstance(call, kvs.GetSecurityToken):
            self.client.call_result(call, 200, self.now, self._answer(call))
            return
        api = _APIS[type(call)]
        if isinstance(call, kvs.PutStream):
            if self.config.get("put_answer_deferred"):
                self.deferred = call
                self.events.append({"event": "putStreamDeferred"})
                return
            self.upload = call.upload
        result = self._result(api)
        self.events.append({"event": "call", "api": api, "answer": result})
        if isinstance(call, kvs.PutStream) and result == 200:
            self.events.append(
                {
                    "event": "putStream",
                    "upload": call.upload,
                    "start_ts": call.start_timestamp,
                    "absolute": int(call.absolute_timecodes),
                    "acks": int(call.acks),
                }
            )
        self.client.call_result(call, result, self.now, self._answer(call))

    def take_events(self) -> None:
        """Convert the events to the golden form; the first error is the step's status."""
        assert self.client is not None
        events = [event for event in iter(self.client.next_event, None) if not _is_drop(event)]
        drops, self.drops = self.drops, []
        for event in drops + events:
            self.raw.append(event)
            if isinstance(event, ev.FrameDropped | ev.FragmentDropped):
                self.all_dropped += event.count
            if self._only_ours(event):
                continue
            if (
                isinstance(event, ev.StreamErrorReported)
                and (event.upload is None and event.status is not StatusCode.TAG_STREAM_CALL_FAILED)
            ) or isinstance(event, ev.ClientErrorReported | ev.AckRejected):
                self.status = self.status or event.status
            else:
                self.events.extend(self._golden(event))

    def _record_drops(self, stream: kvs.Stream) -> None:
        """Record each single drop: AWS's client reports frame by frame, we merge neighbours."""
        core = stream._core
        emit = core.emit

        def record(event: kvs.Event) -> None:
            if _is_drop(event):
                self.drops.append(event)
            emit(event)

        core.emit = record  # type: ignore[method-assign]

    def _only_ours(self, event: kvs.Event) -> bool:
        """Return True if an event reports a failed upload; AWS's client reports ERROR acks only."""
        return (
            isinstance(event, ev.StreamErrorReported)
            and event.upload is not None
            and event.timecode is None
            and not self.op.startswith("ack")
        )

    def _golden(self, event: kvs.Event) -> list[Record]:
        """Return an event in the golden form; [] for events that AWS's client does not have."""
        if isinstance(event, ev.FrameDropped | ev.FragmentDropped):
            if event.reason not in _C_REASONS:
                return []
            self.dropped += 1
            near = isinstance(event, ev.FragmentDropped)
            return [{"event": "droppedFragment" if near else "droppedFrame", "value": event.first}]
        if isinstance(event, ev.StreamErrorReported):
            timecode = None
            if event.timecode is not None:
                timecode = event.timecode * self._live().info.timecode_scale
            return [
                {
                    "event": "streamError",
                    "upload": event.upload,
                    "timecode": timecode,
                    "error": f"0x{event.status:08x}",
                }
            ]
        form = _FORMS.get(type(event))
        return [] if form is None else [form(event)]

    # --- the steps ------------------------------------------------------------------------------
    def step(self, step: Mapping[str, Any]) -> Record:
        """Perform a step; return its result in the form of the expectation."""
        self.events, self.status, self.op, result = [], 0, step["op"], Record()
        self.raw = []
        self.named_upload = step.get("upload", self.upload)
        try:
            result = _STEPS[step["op"]](self, step) or {}
        except kvs.WouldBlock:
            self.status = StatusCode.OPERATION_TIMED_OUT
        except KvsError as error:
            self.status = error.status
        if self.client is not None:
            self.settle()
        self.refused |= step["op"] == "create" and self.stream is None
        return {"status": f"0x{self.status:08x}", "events": self.events, **result}

    def _live(self) -> kvs.Stream:
        assert self.stream is not None, "create comes first"
        return self.stream

    def create(self, _step: Mapping[str, Any]) -> None:
        self.client = AwsClient(device_info(self.config), now=self.now, dice=lambda n: n // 2)
        self.settle()
        if not self.status:
            self.create_again(_step)

    def create_again(self, step: Mapping[str, Any]) -> None:
        if self.client is None:
            self.create(step)
        else:
            info = stream_info(self.config)
            self.stream, self.all_dropped = self.client.open_stream(info, self.now), 0
            self._record_drops(self.stream)

    def put_frame(self, step: Mapping[str, Any]) -> None:
        flags = 0
        for letter in step["flags"]:
            flags |= _FLAGS[letter]
        before = self._live().account().accepted
        self._live().put_frame(
            kvs.Frame(
                input_bytes(step["data"]),
                step["pts"],
                dts=step.get("dts"),
                duration=step["duration"],
                track_id=step.get("track", 1),
                flags=flags,
            ),
            self.now,
        )
        if self._live().account().accepted > before or self._live().info.frame_order_mode:
            self.accepted.append(step)  # unless it is skipped when its turn comes

    def put_end_of_fragment(self, step: Mapping[str, Any]) -> None:
        self._live().put_frame(kvs.Frame.end_of_fragment(), self.now)
        self.accepted.append(step)

    def put_metadata(self, step: Mapping[str, Any]) -> None:
        self._live().put_fragment_metadata(
            step["name"], step["value"], bool(step["persistent"]), self.now
        )

    def put_event(self, step: Mapping[str, Any]) -> None:
        self._live().put_event(
            step["types"],
            self.now,
            image_prefix=step.get("image_prefix") or "",
            pairs=tuple((step.get("pairs") or {}).items()),
        )

    def read(self, step: Mapping[str, Any]) -> Record:
        buffers, status = self._live().next_buffers(self.named_upload, step["size"], self.now)
        self.status = status.status
        return {"bytes": b"".join(buffers)}

    def read_all(self, _step: Mapping[str, Any]) -> Record:
        upload, data = self.named_upload, b""
        try:
            while not self.status:
                buffers, status = self._live().next_buffers(upload, READ_ALL_BYTES, self.now)
                data += b"".join(buffers)
                self.status = status.status
        except KvsError as error:
            self.status = error.status
        return {"bytes": data}

    def ack(self, step: Mapping[str, Any]) -> None:
        self._live().receive_ack(self.named_upload, step["json"].encode(), self.now)

    def ack_struct(self, step: Mapping[str, Any]) -> None:
        ack = kvs.FragmentAck.from_dict(
            {
                "version": step["version"],
                "ack_type": step["type"],
                "timecode": None if step["timecode"] == NEVER else step["timecode"],
                "sequence_number": str(step["sequence"]),
                "result": step["result"],
            }
        )
        self._live().receive_parsed_ack(self.upload, ack, self.now)

    def connection_ended(self, step: Mapping[str, Any]) -> None:
        self._live().upload_ended(self.named_upload, step["result"], self.now)

    def answer(self, step: Mapping[str, Any]) -> None:
        self.answers[step["api"]] = [step["result"], step["times"]]

    def put_answer(self, step: Mapping[str, Any]) -> Record:
        call, self.deferred = self.deferred, None
        if self.client is None or not isinstance(call, kvs.PutStream):
            return {}
        self.upload = call.upload
        self.client.call_result(call, step["result"], self.now)
        return {"upload": self.upload}

    def advance_clock(self, step: Mapping[str, Any]) -> None:
        self.now += step["by"]

    def heal(self) -> None:
        """Let the service answer all later calls with success."""
        self.answers.clear()
        for name in _ODD_ANSWERS:
            self.config.pop(name, None)

    def set(self, step: Mapping[str, Any]) -> None:
        self.config[step["name"]] = step["value"]

    def put_frame_in_background(self, step: Mapping[str, Any]) -> Record:
        """Put a frame in its own thread; if the buffer is full, it waits for space."""
        try:
            self.put_frame(step)
        except kvs.WouldBlock:
            self.waiting = step
        return {"blocked": int(self.waiting is not None)}

    def _put_waiting(self) -> None:
        """Repeat a put that waits, if there is space now or the stream has ended."""
        if (step := self.waiting) is None:
            return
        self.waiting = None
        if self._live().stopped:
            self.background = StatusCode.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED
            return
        try:
            self.put_frame(step)
        except kvs.WouldBlock:
            self.waiting = step
        except KvsError as error:
            self.background = error.status

    def wait_for_background_put(self, _step: Mapping[str, Any]) -> None:
        self._put_waiting()
        timed_out = self.waiting is not None
        self.status = StatusCode.OPERATION_TIMED_OUT if timed_out else self.background
        self.waiting, self.background = None, 0

    def stream_metrics(self, step: Mapping[str, Any]) -> None:
        self._live().metrics(self.now, step.get("version", 3))

    def client_metrics(self, step: Mapping[str, Any]) -> None:
        assert self.client is not None
        self.client.metrics(self.now, step.get("version", 2))

    def format_changed(self, step: Mapping[str, Any]) -> None:
        """Give the packager parameter sets that come apart from the key frame."""
        self._live()._core.generator.set_codec_private_data(
            step.get("track", 1), input_bytes(step["cpd"])
        )

    def set_adapt_flags(self, _step: Mapping[str, Any]) -> None:
        """Do nothing: NAL adaptation is fixed when the stream is opened."""

    def unsolicited(self, _step: Mapping[str, Any]) -> None:
        """Set the status of a result without a call; the core cannot be given one."""
        self.status = StatusCode.INVALID_STREAM_STATE

    def reset_connection(self, _step: Mapping[str, Any]) -> None:
        self._live().reset_connection(self.now)

    def reset_stream(self, _step: Mapping[str, Any]) -> None:
        self._live().reset(self.now)

    def stop(self, _step: Mapping[str, Any]) -> None:
        self._live().stop(self.now)

    def free_stream(self, _step: Mapping[str, Any]) -> None:
        self._live().free(self.now)

    def probe(self, _step: Mapping[str, Any]) -> Record:
        stream = self._live()
        view, metrics = stream._core.buffer.view, stream.metrics(self.now)
        counters = metrics.counters
        near = stream.info.streaming_type is kvs.StreamingType.NEAR_REALTIME
        items = [
            {
                "index": item.index,
                "dts": item.timestamp,
                "pts": item.ack_timestamp,
                "duration": item.duration,
                "length": item.length,
                "flags": [name for name, flag in _ITEM_FLAGS if item.flags & flag],
            }
            for item in (view[index] for index in range(view.tail, view.head))
        ]
        return {
            "buffer": {
                "tail": view.tail,
                "current": view.current,
                "head": view.head - 1,
                "items": items,
            },
            "metrics": {
                "view_duration": metrics.current_view_duration,
                "overall_view_duration": metrics.overall_view_duration,
                "view_size": metrics.current_view_size,
                "overall_view_size": metrics.overall_view_size,
                "dropped": 0 if near else self.dropped,
                "skipped": counters.skipped_frames,
                "persisted": counters.persisted_acks,
                "received": counters.received_acks,
                "buffered": counters.buffered_acks,
                "errors": counters.error_acks,
                "sessions": counters.total_sessions,
                "transferred": counters.transferred_bytes,
                "active_sessions": counters.total_active_sessions,
                "dropped_fragments": self.dropped if near else 0,
                "storage_pressures": counters.storage_pressures,
                "latency_pressures": counters.latency_pressures,
                "buffer_pressures": counters.buffer_pressures,
                "stale_events": counters.stale_events,
                "put_frame_errors": counters.put_frame_errors,
            },
        }


# Results without a call: our core only accepts results of calls that it has made.
NOT_EXPRESSED_STEPS = ("token_event", "describe_event")
_ODD_ANSWERS = (
    "arn_length",
    "describe_status",
    "endpoint_length",
    "put_answer_deferred",
    "security_token_expiration",
    "security_token_length",
    "token_expiration",
    "token_length",
)
_STEPS: dict[str, Callable[[World, Mapping[str, Any]], Record | None]] = {
    "create": World.create,
    "create_again": World.create_again,
    "put_frame": World.put_frame,
    "put_end_of_fragment": World.put_end_of_fragment,
    "put_metadata": World.put_metadata,
    "put_event": World.put_event,
    "read": World.read,
    "read_all": World.read_all,
    "ack": World.ack,
    "ack_on": World.ack,
    "ack_struct": World.ack_struct,
    "connection_ended": World.connection_ended,
    "answer": World.answer,
    "put_answer": World.put_answer,
    "advance_clock": World.advance_clock,
    "set": World.set,
    "put_frame_in_background": World.put_frame_in_background,
    "wait_for_background_put": World.wait_for_background_put,
    "stream_metrics": World.stream_metrics,
    "client_metrics": World.client_metrics,
    "format_changed": World.format_changed,
    "set_adapt_flags": World.set_adapt_flags,
    "token_event": World.unsolicited,
    "describe_event": World.unsolicited,
    "reset_connection": World.reset_connection,
    "reset_stream": World.reset_stream,
    "stop": World.stop,
    "stop_all": World.stop,
    "free_stream": World.free_stream,
    "probe": World.probe,
}
