"""Provocations for the statuses of the client, through its public names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.status_codes.place import Place, Provocation, Table
from tests.waiting import until

import kvsproducer
from kvsproducer import StatusCode, aio
from kvsproducer import client as kvs
from kvsproducer.heap import ArenaStore, ReferenceStore

_S = StatusCode
SECOND = 10_000_000
HOUR = 3600 * SECOND
NO_SERVER = "http://127.0.0.1:9"  # a port without a server


# --- what users do -------------------------------------------------------------------------------
def validate_device(**members: Any) -> Provocation:
    """Validate a device with these members."""
    return lambda _: kvs.DeviceInfo(**members).validate()


def open_stream(**members: Any) -> Provocation:
    """Open a stream with these members."""
    return lambda place: place.desk(**members) and None


def read_config(kind: Any, **members: Any) -> Provocation:
    """Read a structure from a configuration file."""
    return lambda _: kind.from_dict(json.loads(json.dumps(members))) and None


def answer_call(call: type[kvs.Call], *answers: tuple[int, object], **members: Any) -> Provocation:
    """Answer a service call with these results, from the first call on."""

    def provoke(place: Place) -> Sequence[kvs.Event]:
        d = place.desk(**members)
        d.answers[call] = list(answers)
        d.settle()
        return d.events

    return provoke


def fail_call(call: type[kvs.Call], result: int = 599, **members: Any) -> Provocation:
    """Let a service call fail six times in a row."""
    return answer_call(call, *[(result, None)] * 6, **members)


def act_on_stream(act: Callable[[Any], object], frames: int = 7, **members: Any) -> Provocation:
    """Call `act` on a stream that has sent some frames."""

    def provoke(place: Place) -> object:
        d = place.desk(**members)
        for index in range(frames):
            d.put(index)
        if frames:
            d.read()
        outcome = act(d)
        d.settle()
        return [*d.events, outcome] if isinstance(outcome, kvs.ReadStatus) else d.events

    return provoke


def send_ack(text: str) -> Provocation:
    """Answer PutMedia with this text."""
    return act_on_stream(lambda d: d.stream.receive_ack(0, text.encode(), d.now))


def refuse_fragment(error_id: int) -> Provocation:
    """Answer PutMedia with an ERROR ack."""
    return act_on_stream(lambda d: d.ack("ERROR", 1, error=error_id))


def end_upload(result: int) -> Provocation:
    """End an upload with this result."""
    return act_on_stream(lambda d: d.stream.upload_ended(0, result, d.now, "gone"))


def read_tag(**tag: Any) -> Provocation:
    return read_config(kvs.StreamInfo, tags=[tag])


def metadata(name: str, value: str = "v", count: int = 1) -> Provocation:
    def act(d: Any) -> None:
        for number in range(count):
            d.stream.put_fragment_metadata(f"{name}{number or ''}", value, False, d.now)

    return act_on_stream(act)


def put_event(**members: Any) -> Provocation:
    return act_on_stream(
        lambda d: d.stream.put_event(kvs.EventType.IMAGE_GENERATION, d.now, **members)
    )


def put_frames(*frames: kvs.Frame) -> Callable[[Any], None]:
    def act(d: Any) -> None:
        for frame in frames:
            d.stream.put_frame(frame, d.now)

    return act


# --- provocations of more than a line ------------------------------------------------------------
def store_with_less_space(place: Place) -> None:
    class RefusingStore(ReferenceStore):
        def charge(self, count: int) -> bool:
            return super().charge(count // 2)

    d = kvs.Client(kvs.DeviceInfo(), now=0, dice=lambda n: 0, store=RefusingStore(1 << 20))
    info = kvs.StreamInfo.video("h264", name="door", nal_adaptation=0)
    d.open_stream(info, 0).put_frame(kvs.Frame(b"data", 0, key_frame=True), 0)


def store_that_loses_bytes(place: Place) -> Sequence[kvs.Event]:
    class LosingStore(ArenaStore):
        def keep(self, payload: Any, size: int) -> Any:
            return [b"".join(payload)[:-1]]

    d = place.desk(make_store=lambda size: LosingStore(1 << 20))
    d.put(0)
    d.read()
    return d.events


def client() -> kvs.Client:
    return kvs.Client(kvs.DeviceInfo(), now=0, dice=lambda n: 0)


def fail_six_uploads(d: Any) -> None:
    for _ in range(6):
        d.stream.upload_ended(d.upload, 503, d.now)
        d.settle()
        d.read()


def frame_larger_than_the_store(d: Any) -> None:
    d.put(8, data=bytes(2 << 20))


def undefine_credentials(d: Any) -> None:
    d.client.auth.type = kvs.AuthType.UNDEFINED
    d.stream.upload_ended(0, 200, d.now)


def omit_last_ack(d: Any) -> None:
    d.stream.stop(d.now)
    d.read()
    for _ in range(30):
        d.now += 5 * SECOND
        d.client.handle_timer(d.now)


def ack_to_the_end(d: Any) -> kvs.ReadStatus:
    d.stream.stop(d.now)
    d.read()
    d.ack("PERSISTED", 0)
    d.ack("PERSISTED", 1)
    read: kvs.ReadStatus = d.read()[1]
    return read


def use_after(end: Callable[[Any], object]) -> Provocation:
    def act(d: Any) -> None:
        end(d)
        d.stream.reset(d.now)

    return act_on_stream(act)


def stop_during_wait(_: Place) -> object:
    """Stop a stream while an offline writer waits for space."""
    info = kvs.StreamInfo.video(
        "h264", streaming_type="offline", buffer_duration="PT1S", nal_adaptation=0
    )

    async def write(stream: aio.Stream) -> None:
        for second in range(3):
            await stream.put_frame(
                kvs.Frame(
                    b"data", (1_700_000_000 + second) * SECOND, duration=SECOND, key_frame=True
                )
            )

    async def work() -> Sequence[object]:
        producer = aio.Producer(region_name="us-west-2", endpoint_url=NO_SERVER)
        stream = producer.open_stream("door", info)
        writer = asyncio.create_task(write(stream))
        await asyncio.sleep(0)  # put_frame only yields to other tasks when it waits for space
        stream.stop()
        results = await asyncio.gather(writer, return_exceptions=True)
        await producer.close(0)
        return results

    return asyncio.run(work())


def when_ready(kind: type[kvs.Event]) -> Provocation:
    """Let on_event raise for an event of this kind."""

    def provoke(place: Place) -> object:
        def listen(event: kvs.Event) -> None:
            if isinstance(event, kind):
                raise RuntimeError("a bug of the listener")

        with kvsproducer.Producer(endpoint_url=place.endpoint_url(), on_event=listen) as producer:
            producer.open_stream("door", kvs.StreamInfo.video("h264")).wait_ready()
        return place.logged()

    return provoke


def two_tracks(**members: Any) -> kvs.Stream:
    info = kvs.StreamInfo.audio_video("h264", "aac", nal_adaptation=0, **members)
    return client().open_stream(info, 0)


def end_of_fragment_in_wrong_mode(_: Place) -> None:
    av = two_tracks(frame_order_mode=kvs.FrameOrderMode.PTS_ONE_MS_COMPENSATE)
    av.put_frame(kvs.Frame(b"v", 0, key_frame=True), 0)
    av.put_frame(kvs.Frame.end_of_fragment(), 0)


def one_track_far_ahead(_: Place) -> None:
    av = two_tracks()
    for number in range(2002):
        av.put_frame(kvs.Frame(b"v", number * SECOND // 1000, key_frame=True), 0)


def open_again(d: Any) -> None:
    d.client.open_stream(d.stream.info, d.now)


def with_block_that_lost_frames(place: Place) -> None:
    info = kvs.StreamInfo.video("h264", nal_adaptation=0)
    seen = list[object]()
    with kvsproducer.Producer(endpoint_url=place.endpoint_url(), on_event=seen.append) as producer:
        with producer.open_stream("door", info) as stream:
            stream.put_frame(kvs.Frame(b"data", kvsproducer.now(), key_frame=True))
            until(lambda: any(isinstance(one, kvs.FragmentAcked) for one in seen))
            stream.reset()


def machine(name: str = "mine", start: Any = kvs.StreamState.NEW) -> kvs.StateMachine[Any]:
    return kvs.StateMachine(name, kvs.STREAM_STATES, start)


def track(number: int) -> dict[str, object]:
    return {"track_id": number, "track_type": "video", "codec_id": "V_X"}


def fail_create(place: Place, answers: list[tuple[int, object]]) -> Sequence[kvs.Event]:
    d = place.desk()
    d.answers[kvs.DescribeStream] = [(404, None)]
    d.answers[kvs.CreateStream] = answers
    d.settle()
    return d.events


ACK_ERRORS = {  # of the PutMedia documentation
    4000: _S.ACK_ERR_STREAM_READ_ERROR,
    4001: _S.ACK_ERR_FRAGMENT_SIZE_REACHED,
    4002: _S.ACK_ERR_FRAGMENT_DURATION_REACHED,
    4003: _S.ACK_ERR_CONNECTION_DURATION_REACHED,
    4004: _S.ACK_ERR_FRAGMENT_TIMECODE_NOT_MONOTONIC,
    4005: _S.ACK_ERR_MULTI_TRACK_MKV,
    4006: _S.ACK_ERR_INVALID_MKV_DATA,
    4007: _S.ACK_ERR_INVALID_PRODUCER_TIMESTAMP,
    4008: _S.ACK_ERR_STREAM_NOT_ACTIVE,
    4009: _S.ACK_ERR_FRAGMENT_METADATA_LIMIT_REACHED,
    4010: _S.ACK_ERR_TRACK_NUMBER_MISMATCH,
    4011: _S.ACK_ERR_FRAMES_MISSING_FOR_TRACK,
    4012: _S.ACK_ERR_MORE_THAN_ALLOWED_TRACKS_FOUND,
    4500: _S.ACK_ERR_KMS_KEY_ACCESS_DENIED,
    4501: _S.ACK_ERR_KMS_KEY_DISABLED,
    4502: _S.ACK_ERR_KMS_KEY_VALIDATION_ERROR,
    4503: _S.ACK_ERR_KMS_KEY_UNAVAILABLE,
    4504: _S.ACK_ERR_KMS_KEY_INVALID_USAGE,
    4505: _S.ACK_ERR_KMS_KEY_INVALID_STATE,
    4506: _S.ACK_ERR_KMS_KEY_NOT_FOUND,
    4507: _S.ACK_ERR_STREAM_DELETED,
    5000: _S.ACK_ERR_ACK_INTERNAL_ERROR,
    5001: _S.ACK_ERR_FRAGMENT_ARCHIVAL_ERROR,
    7000: _S.ACK_ERR_UNKNOWN_ACK_ERROR,
}

TABLE: Table = {
    _S.MAX_STREAM_COUNT: validate_device(stream_count=1_000_001),
    _S.MIN_STREAM_COUNT: validate_device(stream_count=0),
    _S.INVALID_DEVICE_NAME_LENGTH: validate_device(name="n" * 129),
    _S.INVALID_DEVICE_INFO_VERSION: read_config(kvs.DeviceInfo, version=2),
    _S.MAX_TAG_COUNT: open_stream(tags=tuple((str(n), "v") for n in range(51))),
    _S.INVALID_STREAM_INFO_VERSION: read_config(kvs.StreamInfo, version=4),
    _S.INVALID_STREAM_NAME_LENGTH: open_stream(name="n" * 257),
    _S.INVALID_STORAGE_SIZE: validate_device(storage_info=kvs.StorageInfo(storage_size=1)),
    _S.INVALID_ROOT_DIRECTORY_LENGTH: validate_device(
        storage_info=kvs.StorageInfo(root_directory="r" * 4097)
    ),
    _S.INVALID_SPILL_RATIO: validate_device(storage_info=kvs.StorageInfo(spill_ratio=101)),
    _S.INVALID_STORAGE_INFO_VERSION: read_config(kvs.StorageInfo, version=1),
    _S.INVALID_STREAM_STATE: lambda _: machine().step(kvs.On.MEDIA),
    _S.SERVICE_CALL_NOT_AUTHORIZED_ERROR: answer_call(kvs.GetStreamingToken, (403, None)),
    _S.DESCRIBE_STREAM_CALL_FAILED: fail_call(kvs.DescribeStream),
    _S.INVALID_DESCRIBE_STREAM_RESPONSE: answer_call(kvs.DescribeStream, (200, None)),
    _S.STREAM_IS_BEING_DELETED_ERROR: answer_call(
        kvs.DescribeStream, (200, kvs.StreamDescription("arn", kvs.StreamStatus.DELETING))
    ),
    _S.SERVICE_CALL_INVALID_ARG_ERROR: answer_call(kvs.DescribeStream, (406, None)),
    _S.SERVICE_CALL_DEVICE_NOT_FOND_ERROR: answer_call(kvs.DescribeStream, (10005, None)),
    _S.SERVICE_CALL_DEVICE_NOT_PROVISIONED_ERROR: answer_call(kvs.DescribeStream, (10004, None)),
    _S.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR: answer_call(
        kvs.DescribeStream, (404, None), allow_stream_creation=False
    ),
    _S.INVALID_AUTH_LEN: answer_call(kvs.GetStreamingToken, (200, kvs.AuthInfo(length=10_001))),
    _S.CREATE_STREAM_CALL_FAILED: lambda place: fail_create(place, [(500, None)] * 6),
    _S.GET_STREAMING_TOKEN_CALL_FAILED: fail_call(kvs.GetStreamingToken),
    _S.GET_STREAMING_ENDPOINT_CALL_FAILED: fail_call(kvs.GetStreamingEndpoint),
    _S.INVALID_URI_LEN: answer_call(kvs.GetStreamingEndpoint, (200, "e" * 10_001)),
    _S.PUT_STREAM_CALL_FAILED: act_on_stream(fail_six_uploads),
    _S.STORE_OUT_OF_MEMORY: act_on_stream(
        frame_larger_than_the_store,
        make_store=lambda size: ReferenceStore(1 << 20),
    ),
    _S.NO_MORE_DATA_AVAILABLE: act_on_stream(lambda d: d.read()[1]),
    _S.INVALID_TAG_VERSION: read_tag(name="n", value="v", version=1),
    _S.SERVICE_CALL_UNKOWN_ERROR: end_upload(503),
    _S.SERVICE_CALL_RESOURCE_IN_USE_ERROR: answer_call(kvs.DescribeStream, (10003, None)),
    _S.SERVICE_CALL_CLIENT_LIMIT_ERROR: answer_call(kvs.DescribeStream, (10000, None)),
    _S.SERVICE_CALL_DEVICE_LIMIT_ERROR: answer_call(kvs.DescribeStream, (10001, None)),
    _S.SERVICE_CALL_STREAM_LIMIT_ERROR: answer_call(kvs.DescribeStream, (10002, None)),
    _S.SERVICE_CALL_RESOURCE_DELETED_ERROR: answer_call(kvs.DescribeStream, (10400, None)),
    _S.SERVICE_CALL_TIMEOUT_ERROR: end_upload(504),
    _S.DEVICE_TAGS_COUNT_NON_ZERO_TAGS_NULL: read_config(kvs.DeviceInfo, tags=None),
    _S.INVALID_TAG_NAME_LEN: open_stream(tags=(("n" * 129, "v"),)),
    _S.INVALID_TAG_VALUE_LEN: open_stream(tags=(("n", "v" * 1025),)),
    _S.TAG_STREAM_CALL_FAILED: fail_call(kvs.TagStream, tags=(("a", "b"),)),
    _S.INVALID_CUSTOM_DATA: act_on_stream(
        lambda d: client().call_result(next(iter(d.calls[-1:])), 200, 0)
    ),
    _S.INVALID_CREATE_STREAM_RESPONSE: lambda place: fail_create(place, [(200, None)]),
    _S.CLIENT_AUTH_CALL_FAILED: fail_call(kvs.GetSecurityToken),
    _S.CREATE_CLIENT_CALL_FAILED: fail_call(kvs.CreateDevice),
    _S.INVALID_CREATE_DEVICE_RESPONSE: answer_call(kvs.CreateDevice, (200, None)),
    _S.ACK_TIMESTAMP_NOT_IN_VIEW_WINDOW: act_on_stream(lambda d: d.ack("PERSISTED", 100)),
    _S.INVALID_FRAGMENT_ACK_VERSION: read_config(kvs.FragmentAck, version=1, ack_type="PERSISTED"),
    _S.INVALID_TOKEN_EXPIRATION: answer_call(
        kvs.GetStreamingToken, (200, kvs.AuthInfo(expiration=0))
    ),
    _S.END_OF_STREAM: act_on_stream(ack_to_the_end),
    _S.DUPLICATE_STREAM_NAME: act_on_stream(open_again),
    _S.INVALID_RETENTION_PERIOD: open_stream(retention=3599),
    _S.INVALID_ACK_KEY_START: send_ack("{EventType}"),
    _S.INVALID_ACK_DUPLICATE_KEY_NAME: send_ack('{"EventType":"IDLE","EventType":"IDLE"}'),
    _S.INVALID_ACK_INVALID_VALUE_START: send_ack('{"EventType":}'),
    _S.INVALID_ACK_INVALID_VALUE_END: send_ack('{"FragmentTimecode":12"3}'),
    _S.INVALID_PARSED_ACK_TYPE: send_ack('{"EventType":"persisted"}'),
    _S.STREAM_HAS_BEEN_STOPPED: act_on_stream(lambda d: d.stream.stop(d.now) or d.put(10)),
    _S.INVALID_STREAM_METRICS_VERSION: act_on_stream(lambda d: d.stream.metrics(d.now, version=4)),
    _S.INVALID_CLIENT_METRICS_VERSION: act_on_stream(lambda d: d.client.metrics(d.now, version=3)),
    _S.STREAM_READY_CALLBACK_FAILED: when_ready(kvs.StreamReady),
    _S.CLIENT_READY_CALLBACK_FAILED: when_ready(kvs.ClientReady),
    _S.INVALID_CLIENT_READY_STATE: act_on_stream(undefine_credentials),
    _S.STATE_MACHINE_STATE_NOT_FOUND: lambda _: machine().restart(kvs.ClientState.READY),
    _S.INVALID_FRAGMENT_ACK_TYPE: act_on_stream(
        lambda d: d.stream.receive_parsed_ack(
            0, kvs.FragmentAck.from_dict({"version": 0, "ack_type": "undefined"}), d.now
        )
    ),
    _S.INVALID_STREAM_READY_STATE: answer_call(
        kvs.GetStreamingToken, (200, kvs.AuthInfo(type=kvs.AuthType.UNDEFINED))
    ),
    _S.CLIENT_FREED_BEFORE_STREAM: use_after(lambda d: d.client.close(d.now)),
    _S.ALLOCATION_SIZE_SMALLER_THAN_REQUESTED: store_with_less_space,
    _S.VIEW_ITEM_SIZE_GREATER_THAN_ALLOCATION: store_that_loses_bytes,
    **{status: refuse_fragment(error_id) for error_id, status in ACK_ERRORS.items()},
    _S.MISSING_ERR_ACK_ID: send_ack('{"EventType":"ERROR","FragmentTimecode":1}'),
    _S.INVALID_ACK_SEGMENT_LEN: send_ack('{"x":"' + "y" * (1 << 16)),
    _S.AWAITING_PERSISTED_ACK: act_on_stream(lambda d: d.stream.stop(d.now) or d.read()[1]),
    _S.PERSISTED_ACK_TIMEOUT: act_on_stream(omit_last_ack),
    _S.MAX_FRAGMENT_METADATA_COUNT: metadata("name", count=11),
    _S.BLOCKING_PUT_INTERRUPTED_STREAM_TERMINATED: stop_during_wait,
    _S.INVALID_METADATA_NAME: metadata("AWSname"),
    _S.END_OF_FRAGMENT_FRAME_INVALID_STATE: act_on_stream(
        put_frames(kvs.Frame.end_of_fragment()), key_frame_fragmentation=False
    ),
    _S.TRACK_INFO_MISSING: read_config(kvs.StreamInfo, tracks=None),
    _S.MAX_TRACK_COUNT_EXCEEDED: lambda _: kvs.StreamInfo.from_dict(
        {"tracks": [track(number) for number in range(1, 5)]}
    ).validate(),
    _S.OFFLINE_MODE_WITH_ZERO_RETENTION: open_stream(
        streaming_type=kvs.StreamingType.OFFLINE, retention=0
    ),
    _S.UPLOAD_HANDLE_ABORTED: act_on_stream(lambda d: d.read(upload=77)),
    _S.INVALID_CERT_PATH_LENGTH: lambda _: (
        kvsproducer.Producer(region_name="us-west-2", verify="/" + "c" * 4096) and None
    ),
    _S.DUPLICATE_TRACK_ID_FOUND: lambda _: kvs.StreamInfo.from_dict(
        {"tracks": [track(1), track(1)]}
    ).validate(),
    _S.INVALID_CLIENT_INFO_VERSION: read_config(kvs.ClientInfo, version=4),
    _S.INVALID_CLIENT_ID_STRING_LENGTH: validate_device(client_id="c" * 65),
    _S.SETTING_KEY_FRAME_FLAG_WHILE_USING_EOFR: end_of_fragment_in_wrong_mode,
    _S.MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED: one_track_far_ahead,
    _S.STREAM_SHUTTING_DOWN: use_after(lambda d: d.stream.free(d.now)),
    _S.CLIENT_SHUTTING_DOWN: act_on_stream(lambda d: d.client.close(d.now) or open_again(d)),
    _S.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED: with_block_that_lost_frames,
    _S.NON_ALIGNED_HEAP_WITH_IN_CONTENT_STORE_ALLOCATORS: lambda _: (
        kvs.Client(
            kvs.DeviceInfo(
                storage_info=kvs.StorageInfo(kvs.StorageType.IN_MEM_CONTENT_STORE_ALLOC)
            ),
            now=0,
            dice=lambda n: 0,
        )
        and None
    ),
    _S.MULTIPLE_CONSECUTIVE_EOFR: act_on_stream(put_frames(*[kvs.Frame.end_of_fragment()] * 2)),
    _S.DUPLICATE_STREAM_EVENT_TYPE: act_on_stream(
        lambda d: [d.stream.put_event(kvs.EventType.NOTIFICATION, d.now) for _ in "12"]
    ),
    _S.STREAM_NOT_STARTED: act_on_stream(lambda d: d.stream.put_event(1, d.now), 0),
    _S.INVALID_IMAGE_PREFIX_LENGTH: put_event(image_prefix="p" * 257),
    _S.INVALID_IMAGE_METADATA_KEY_LENGTH: put_event(pairs=[("k" * 129, "v")]),
    _S.INVALID_IMAGE_METADATA_VALUE_LENGTH: put_event(pairs=[("k", "v" * 257)]),
    _S.STATE_MACHINE_NAME_LEN_INVALID: lambda _: machine("n" * 33) and None,
}
