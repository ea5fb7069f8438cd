"""Chains at work: order, ends, failures, threads; against a real endpoint."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer import StatusCode, aio
from kvsproducer import client as core
from kvsproducer.endpoint import Credentials, local_endpoint
from kvsproducer.producer.credentials import AwsCredentials

S = StatusCode
Frames = Callable[[int], Iterator[kvs.Frame]]
NOBODY = "http://127.0.0.1:9"
SECOND = 10_000_000
PATIENT = 30


def provider_of(*sets: Any, platform: kvs.PlatformCallbacks | None = None) -> kvs.CallbacksProvider:
    provider = kvs.CallbacksProvider()
    for one in sets:
        provider.add(one)
    if platform is not None:
        provider.set_platform(platform)
    return provider


def why_not_ready(stream: kvs.Stream, reason: str) -> str:
    """What waiting for the stream raises, once it tells that reason."""
    deadline = time.monotonic() + PATIENT
    while True:
        with pytest.raises(kvs.KvsError) as caught:
            stream.wait_ready(0.1)
        told = str(caught.value)
        if reason in told:
            return told
        assert time.monotonic() < deadline, told


def put_all(url: str, info: kvs.StreamInfo, frames: Iterator[kvs.Frame], *sets: Any) -> None:
    """Put the frames with these callbacks; leaving the blocks raises unless all are stored."""
    with kvs.Producer(endpoint_url=url, callbacks=provider_of(*sets)) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames:
                stream.put_frame(frame)


# --- told ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("says", "called"),
    [
        (None, "abc"),
        (S.SUCCESS, "abc"),
        (True, "abc"),
        (S.STOP_CALLBACK_CHAIN, "ab"),
        (S.INVALID_ARG, "ab"),
        (kvs.KvsError(S.STOP_CALLBACK_CHAIN), "ab"),
        (kvs.KvsError(S.NOT_ENOUGH_MEMORY), "ab"),
        (ValueError("a bug"), "ab"),
    ],
    ids=str,
)
def test_order_and_end(
    says: object,
    called: str,
    endpoint_url: str,
    info: kvs.StreamInfo,
    frames: Frames,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Entries are called in the order in which they were added, until one stops or fails."""
    calls: list[str] = []

    def entry(name: str, says: object = None) -> kvs.StreamCallbacks:
        def ready(told: kvs.StreamReady) -> object:
            calls.append(name)
            assert told == kvs.StreamReady("door")
            if isinstance(says, Exception):
                raise says
            return says

        return kvs.StreamCallbacks(stream_ready=ready)

    sets = entry("a"), entry("b", says), kvs.StreamCallbacks(), entry("c")
    put_all(endpoint_url, info, frames(5), *sets)
    assert "".join(calls) == called
    failed = says not in (None, S.SUCCESS, True, S.STOP_CALLBACK_CHAIN) and not (
        isinstance(says, kvs.KvsError) and says.status is S.STOP_CALLBACK_CHAIN
    )
    assert ("STREAM_READY_CALLBACK_FAILED" in caplog.text) == failed
    assert ("StreamCallbacks.stream_ready of entry 2" in caplog.text) == failed


def test_what_is_told(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """A life without trouble, on a thread of its own; listeners hear the same."""
    told: list[Any] = []
    threads: set[str] = set()

    def tell(record: Any) -> None:
        told.append(record)
        threads.add(threading.current_thread().name)

    heard: list[kvs.Event] = []
    provider = provider_of(
        kvs.ProducerCallbacks(client_ready=tell, client_shutdown=tell),
        kvs.StreamCallbacks(
            stream_ready=tell,
            fragment_ack_received=tell,
            stream_closed=tell,
            stream_shutdown=tell,
            stream_error_report=tell,
            dropped_frame_report=tell,
        ),
    )
    with kvs.Producer(
        endpoint_url=endpoint_url, callbacks=provider, on_event=heard.append
    ) as producer:
        with producer.open_stream("door", info) as stream:
            for frame in frames(5):
                stream.put_frame(frame)
    kinds = [kind.__name__ for kind, _ in itertools.groupby(told, key=type)]
    assert kinds == [
        "ClientReady",
        "StreamReady",
        "FragmentAcked",
        "StreamClosed",
        "StreamShutdown",
        "ClientShutdown",
    ]
    assert threads == {"kvsproducer-events"}
    assert [one for one in heard if isinstance(one, kvs.FragmentAcked)] == [
        one for one in told if isinstance(one, kvs.FragmentAcked)
    ]


def test_drops_are_told(info: kvs.StreamInfo, frames: Frames) -> None:
    """A reset in an outage."""
    told: list[Any] = []
    provider = provider_of(
        kvs.StreamCallbacks(dropped_frame_report=told.append, dropped_fragment_report=told.append)
    )
    producer = kvs.Producer(endpoint_url=NOBODY, callbacks=provider)
    stream = producer.open_stream("door", info)
    for frame in frames(3):
        stream.put_frame(frame)
    stream.reset()
    producer.close(0)
    assert sum(one.count for one in told if isinstance(one, kvs.FrameDropped)) == 3


def test_one_that_blocks_stalls_no_upload(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """Every ack arrives while the first one's callback still waits."""
    entered, release = threading.Event(), threading.Event()

    def block(_: kvs.FragmentAcked) -> None:
        entered.set()
        assert release.wait(PATIENT)

    provider = provider_of(kvs.StreamCallbacks(fragment_ack_received=block))
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=provider) as producer:
        with producer.open_stream("door", info) as stream:
            some = frames(50)
            for frame in itertools.islice(some, 10):
                stream.put_frame(frame)
            assert stream.flush().held == 0
            assert entered.wait(PATIENT)
            for frame in some:
                stream.put_frame(frame)
            account = stream.flush()
            assert (account.persisted, account.held, account.dropped) == (50, 0, 0)
            assert not release.is_set()
            release.set()


def test_one_that_raises_stalls_no_upload(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure is logged with its traceback; everything is stored."""
    put_all(
        endpoint_url,
        info,
        frames(10),
        kvs.StreamCallbacks(fragment_ack_received=lambda ack: {}["a bug"]),
    )
    assert "INTERNAL_ERROR: StreamCallbacks.fragment_ack_received of entry 1 raised" in caplog.text
    assert "Traceback" in caplog.text


# --- inside put_frame ------------------------------------------------------------------------
@pytest.fixture
def outage() -> Iterator[Callable[..., kvs.Producer]]:
    """`outage(*sets)`: a producer without a service, with a small store."""
    made: list[kvs.Producer] = []
    small = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))

    def make(*sets: Any, **options: Any) -> kvs.Producer:
        made.append(
            kvs.Producer(
                endpoint_url=NOBODY, device_info=small, callbacks=provider_of(*sets), **options
            )
        )
        return made[-1]

    yield make
    for producer in made:
        producer.close(0)


PRESSURES: dict[str, tuple[Any, dict[str, object], int]] = {
    # function -> its set, what the stream is like, bytes of a frame
    "storage_overflow_pressure": (kvs.ProducerCallbacks, {}, 18_000),
    "buffer_duration_overflow_pressure": (
        kvs.StreamCallbacks,
        {"buffer_duration": 2 * SECOND, "max_latency": 0},
        100,
    ),
    "stream_latency_pressure": (kvs.StreamCallbacks, {"max_latency": SECOND}, 100),
}


@pytest.mark.parametrize("name", PRESSURES)
def test_pressure_can_fail_put_frame(name: str, outage: Callable[..., kvs.Producer]) -> None:
    """In the caller's thread, the lock free; the frame is accepted; listeners hear of it too."""
    kind, members, size = PRESSURES[name]
    info = kvs.StreamInfo.video("h264", nal_adaptation=kvs.NalAdaptation.NONE, **members)
    told: list[Any] = []
    threads: list[int] = []
    heard: list[kvs.Event] = []

    def pressure(event: Any) -> StatusCode:
        told.append(event)
        threads.append(threading.get_ident())
        stream.metrics()  # the lock is free
        return S.NOT_ENOUGH_MEMORY

    producer = outage(kind(**{name: pressure}), on_event=heard.append)
    stream = producer.open_stream("door", info)
    start, failed = kvs.now(), []
    for number in range(60):
        frame = kvs.Frame(
            bytes(size), start + number * 400_000, duration=400_000, key_frame=number % 5 == 0
        )
        try:
            stream.put_frame(frame)
        except kvs.KvsError as error:
            failed.append(error)
    assert told
    assert len(failed) == len(told)
    assert set(threads) == {threading.get_ident()}
    error = failed[0]
    assert error.status is S.NOT_ENOUGH_MEMORY
    assert error.stream == "door"
    assert f"{name} of entry 1 returned NOT_ENOUGH_MEMORY; the frame was accepted" in error.detail
    assert stream.account().accepted == 60
    producer.close(0)
    assert [event for event in heard if isinstance(event, type(told[0]))]


def test_pressures_without_a_callback_are_events(outage: Callable[..., kvs.Producer]) -> None:
    """A provider that is not asked about them changes nothing."""
    heard: list[kvs.Event] = []
    producer = outage(kvs.StreamCallbacks(), on_event=heard.append)
    info = kvs.StreamInfo.video("h264", nal_adaptation=kvs.NalAdaptation.NONE, max_latency=SECOND)
    stream = producer.open_stream("door", info)
    start = kvs.now()
    for number in range(40):
        stream.put_frame(
            kvs.Frame(b"x", start + number * 400_000, duration=400_000, key_frame=number % 5 == 0)
        )
    producer.close(0)
    assert [event for event in heard if isinstance(event, kvs.StreamLatencyPressure)]


def test_data_available_is_told_with_each_frame(
    outage: Callable[..., kvs.Producer], info: kvs.StreamInfo, frames: Frames
) -> None:
    """How much waits grows; a failure is the frame's; a skipped frame before the first is none."""
    told: list[kvs.StreamDataAvailable] = []

    def available(record: kvs.StreamDataAvailable) -> object:
        told.append(record)
        if len(told) == 3:
            raise ValueError("a bug")
        return None

    stream = outage(kvs.StreamCallbacks(stream_data_available=available)).open_stream("door", info)
    stream.put_frame(kvs.Frame(b"no key frame", kvs.now()))
    assert told == []
    some = list(frames(4))
    stream.put_frame(some[0])
    stream.put_frame(some[1])
    with pytest.raises(kvs.KvsError) as caught:
        stream.put_frame(some[2])
    assert caught.value.status is S.INTERNAL_ERROR
    assert isinstance(caught.value.__cause__, ValueError)
    stream.put_frame(some[3])
    assert [record.stream for record in told] == ["door"] * 4
    sizes = [record.size for record in told]
    assert sizes == sorted(set(sizes))
    assert told[-1].duration == 4 * 400_000


def big_key_frames(count: int) -> Iterator[kvs.Frame]:
    start = kvs.now()
    for number in range(count):
        yield kvs.Frame(bytes(100_000), start + number * SECOND, duration=SECOND, key_frame=True)


def test_a_frame_that_waited_for_space_is_told_too(
    outage: Callable[..., kvs.Producer], offline_info: kvs.StreamInfo
) -> None:
    """Offline, once for each frame; resets make the space here."""
    told: list[kvs.StreamDataAvailable] = []
    producer = outage(kvs.StreamCallbacks(stream_data_available=told.append))
    stream = producer.open_stream("door", offline_info)

    def write() -> None:
        for frame in big_key_frames(30):
            stream.put_frame(frame)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        stream.reset()
        writer.join(0.02)
    assert len(told) == stream.account().accepted == 30


def test_asyncio_tells_a_frame_that_waited_too(offline_info: kvs.StreamInfo) -> None:
    """As above."""
    told: list[kvs.StreamDataAvailable] = []

    async def main() -> int:
        producer = aio.Producer(
            endpoint_url=NOBODY,
            device_info=kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20)),
            callbacks=provider_of(kvs.StreamCallbacks(stream_data_available=told.append)),
        )
        stream = producer.open_stream("door", offline_info)

        async def write() -> None:
            for frame in big_key_frames(30):
                await stream.put_frame(frame)

        writing = asyncio.ensure_future(write())
        while not writing.done():
            stream.reset()
            await asyncio.wait([writing], timeout=0.02)
        await writing
        accepted = stream.account().accepted
        await producer.close(0)
        return accepted

    assert asyncio.run(main()) == len(told) == 30


def test_an_entry_that_is_added_while_frames_are_put(info: kvs.StreamInfo, frames: Frames) -> None:
    """It is called from the next frame on."""
    provider, told = kvs.CallbacksProvider(), []
    producer = kvs.Producer(endpoint_url=NOBODY, callbacks=provider)
    stream = producer.open_stream("door", info)
    for number, frame in enumerate(frames(4)):
        if number == 2:
            provider.add(kvs.StreamCallbacks(stream_data_available=told.append))
        stream.put_frame(frame)
    producer.close(0)
    assert len(told) == 2


# --- asked -----------------------------------------------------------------------------------
def test_api_calls_are_observed(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Each call is shown before it is made, in a thread of its own; the service answers it."""
    seen: list[core.Call] = []
    threads: set[str] = set()

    def see(call: Any) -> None:
        seen.append(call)
        threads.add(threading.current_thread().name)

    entry = kvs.ApiCallbacks(
        describe_stream=see,
        create_stream=see,
        tag_resource=see,
        get_streaming_endpoint=see,
        put_stream=see,
    )
    info = kvs.StreamInfo.video(
        "h264", retention="PT1H", nal_adaptation=kvs.NalAdaptation.NONE, tags={"room": "hall"}
    )
    put_all(endpoint_url, info, frames(5), entry)
    assert [type(call) for call in seen] == [
        core.DescribeStream,
        core.CreateStream,
        core.TagStream,
        core.GetStreamingEndpoint,
        core.PutStream,
    ]
    assert threads == {"kvsproducer-callback"}


def test_api_calls_are_answered_in_the_services_place(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """The first answer ends the chain; no request is made for the call."""
    asked: list[str] = []
    found = core.StreamDescription("arn:none", retention=36_000_000_000)
    with kvs.Producer(endpoint_url=endpoint_url) as other:  # the stream exists already
        other.open_stream("door", info).wait_ready()
    first = kvs.ApiCallbacks(
        describe_stream=lambda call: found,
        tag_resource=lambda call: S.SUCCESS,
        get_streaming_endpoint=lambda call: endpoint_url,
    )
    second = kvs.ApiCallbacks(
        describe_stream=lambda call: asked.append("describe"),
        tag_resource=lambda call: asked.append("tag"),
        get_streaming_endpoint=lambda call: asked.append("endpoint"),
    )
    tagged = kvs.StreamInfo.video(
        "h264", retention="PT1H", nal_adaptation=kvs.NalAdaptation.NONE, tags={"room": "hall"}
    )
    provider = provider_of(first, second)
    # A control plane that nobody serves: only PutMedia goes anywhere.
    with kvs.Producer(endpoint_url=NOBODY, callbacks=provider) as producer:
        with producer.open_stream("door", tagged) as stream:
            for frame in frames(10):
                stream.put_frame(frame)
    assert asked == []
    assert len(list(kvs.get_media("door", endpoint_url=endpoint_url))) == 2


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (S.SERVICE_CALL_NOT_AUTHORIZED_ERROR, S.SERVICE_CALL_NOT_AUTHORIZED_ERROR),
        (kvs.KvsError(S.SERVICE_CALL_INVALID_ARG_ERROR), S.SERVICE_CALL_INVALID_ARG_ERROR),
        ("no description", S.INVALID_ARG),
        (ZeroDivisionError(), S.INTERNAL_ERROR),
    ],
    ids=str,
)
def test_api_calls_are_failed(
    said: object, status: StatusCode, endpoint_url: str, info: kvs.StreamInfo
) -> None:
    """A failure is the call's result, and the wait for the stream names it."""

    def fail(call: core.DescribeStream) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    provider = provider_of(kvs.ApiCallbacks(describe_stream=fail))
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=provider) as producer:
        stream = producer.open_stream("door", info)
        told = why_not_ready(stream, "ApiCallbacks.describe_stream of entry 1")
        assert status.name in told


def test_an_upload_that_is_refused_is_tried_again(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """`put_stream` fails the first, answers the second with nonsense, and lets the third go."""
    says: Iterator[Any] = iter([S.SERVICE_CALL_TIMEOUT_ERROR, S.SERVICE_CALL_UNKOWN_ERROR])
    uploads: list[int] = []

    def put_stream(call: core.PutStream) -> Any:
        uploads.append(call.upload)
        return next(says, None)

    put_all(endpoint_url, info, frames(10), kvs.ApiCallbacks(put_stream=put_stream))
    assert len(uploads) == len(set(uploads)) >= 3


def test_one_that_hangs_fails_its_call_only(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    """After the time of a call it counts as timed out; others go on, and so does closing."""
    release = threading.Event()
    hung: list[str | None] = []

    def hang(call: core.DescribeStream) -> None:
        if call.stream == "hangs":
            hung.append(call.stream)
            release.wait(PATIENT)

    short = kvs.ClientInfo(
        service_call_connection_timeout=SECOND // 2, service_call_completion_timeout=SECOND // 2
    )
    producer = kvs.Producer(
        endpoint_url=endpoint_url,
        device_info=kvs.DeviceInfo(client_info=short),
        callbacks=provider_of(kvs.ApiCallbacks(describe_stream=hang)),
    )
    stuck = producer.open_stream("hangs", info)
    with caplog.at_level(logging.INFO, "kvsproducer"):
        with producer.open_stream("door", info) as stream:
            for frame in frames(10):
                stream.put_frame(frame)
        why_not_ready(stuck, "a callback that was asked about DescribeStream took over 0.5 s")
    producer.close(0)
    release.set()
    assert hung


# --- credentials -----------------------------------------------------------------------------
KEYS = AwsCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


@pytest.fixture
def guarded() -> Iterator[str]:
    """An endpoint that wants requests signed with KEYS."""
    known = {KEYS.access_key_id: Credentials(KEYS.secret_access_key)}
    with local_endpoint(verify_signatures=known) as endpoint:
        yield endpoint.url


def test_entries_supply_credentials(
    guarded: str, info: kvs.StreamInfo, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the control plane and the uploads, in place of what the environment has."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    asked: list[str] = []

    def undecided(call: core.Call) -> None:
        asked.append(type(call).__name__)

    put_all(
        guarded,
        info,
        frames(10),
        kvs.AuthCallbacks(get_security_token=undecided, get_streaming_token=undecided),
        kvs.AuthCallbacks(get_security_token=lambda call: KEYS),
        kvs.AuthCallbacks(get_security_token=undecided),
    )
    # The upload's own chain has nothing, so the other is asked for it.
    assert asked == ["GetSecurityToken", "GetStreamingToken", "GetStreamingToken"]


def test_an_entry_that_has_no_more(guarded: str, info: kvs.StreamInfo) -> None:
    """Credentials that end are asked for anew; then the producer's own are used."""
    asked: list[int] = []
    offset = 0

    def give(call: core.Call) -> AwsCredentials | None:
        asked.append(offset)
        if len(asked) > 1:
            return None
        return AwsCredentials("AKIDEXAMPLE", "wrong", expiration=kvs.now() + 120 * SECOND)

    platform = kvs.PlatformCallbacks(get_current_time=lambda: kvs.now() + offset)
    provider = provider_of(kvs.AuthCallbacks(get_security_token=give), platform=platform)
    producer = kvs.Producer(endpoint_url=guarded, callbacks=provider)
    with pytest.raises(kvs.KvsError):
        producer.open_stream("refused", info).wait_ready(1)
    offset = 130 * SECOND
    producer.open_stream("door", info).wait_ready(PATIENT)
    assert asked[:2] == [0, offset]
    producer.close(0)


def test_credentials_for_uploads_only(guarded: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """The control plane keeps the producer's own; a wrong token is the upload's failure."""
    wrong = AwsCredentials("AKIDEXAMPLE", "wrong")
    answers = iter([wrong])
    put_all(
        guarded,
        info,
        frames(10),
        kvs.AuthCallbacks(get_streaming_token=lambda call: next(answers, KEYS)),
    )
    assert next(answers, None) is None


def test_no_credentials_from_an_entry(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """What fails there is told by the wait for the stream."""
    refuse = kvs.AuthCallbacks(get_security_token=lambda call: S.SERVICE_CALL_NOT_AUTHORIZED_ERROR)
    producer = kvs.Producer(endpoint_url=endpoint_url, callbacks=provider_of(refuse))
    stream = producer.open_stream("door", info)
    why_not_ready(stream, "get_security_token of entry 1")
    producer.close(0)


# --- the platform ----------------------------------------------------------------------------
def test_clock_and_dice(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Time in metrics is the given clock's; names and identifiers come from the given dice."""
    offset = 3600 * SECOND
    rolled: list[int] = []

    def roll(below: int) -> int:
        rolled.append(below)
        return below - 1

    platform = kvs.PlatformCallbacks(
        get_current_time=lambda: kvs.now() + offset, get_random_number=roll
    )
    with kvs.Producer(endpoint_url=NOBODY, callbacks=provider_of(platform=platform)) as producer:
        stream = producer.open_stream("", info)
        assert stream.name == "Z" * 16
        offset += 60 * SECOND
        assert stream.metrics().uptime >= 60 * SECOND
    assert 36 in rolled


def test_log_print(info: kvs.StreamInfo, caplog: pytest.LogCaptureFixture) -> None:
    """Lines at or above the client's log level, while the producer lives."""
    lines: list[logging.LogRecord] = []
    platform = kvs.PlatformCallbacks(log_print=lines.append)
    loud = kvs.DeviceInfo(client_info=kvs.ClientInfo(log_level=3))
    with kvs.Producer(
        endpoint_url=NOBODY, device_info=loud, callbacks=provider_of(platform=platform)
    ) as producer:
        producer.open_stream("door", info).close(0)
    assert any("StreamShutdown" in line.getMessage() for line in lines)
    assert min(line.levelno for line in lines) == logging.INFO
    count = len(lines)
    logging.getLogger("kvsproducer").warning("after it")
    assert len(lines) == count


# --- asyncio ---------------------------------------------------------------------------------
def test_asyncio(endpoint_url: str, info: kvs.StreamInfo, frames: Frames) -> None:
    """Callbacks that block stall neither the loop nor the upload; events come beside them."""
    entered, release = threading.Event(), threading.Event()
    told: list[kvs.FragmentAcked] = []
    sizes: list[int] = []

    def block(ack: kvs.FragmentAcked) -> None:
        told.append(ack)
        entered.set()
        assert release.wait(PATIENT)

    provider = provider_of(
        kvs.StreamCallbacks(
            fragment_ack_received=block,
            stream_data_available=lambda record: sizes.append(record.size),
        )
    )
    heard: list[kvs.Event] = []

    async def listen(producer: aio.Producer) -> None:
        heard.extend([event async for event in producer.events()])

    async def main() -> None:
        async with aio.Producer(endpoint_url=endpoint_url, callbacks=provider) as producer:
            listener = asyncio.ensure_future(listen(producer))
            async with producer.open_stream("door", info) as stream:
                for frame in frames(20):
                    await stream.put_frame(frame)
                assert (await stream.flush()).held == 0
                assert await asyncio.to_thread(entered.wait, PATIENT)
                assert len(told) == 1
            release.set()
        await listener

    asyncio.run(main())
    assert len(sizes) == 20
    assert told == [event for event in heard if isinstance(event, kvs.FragmentAcked)]
    assert isinstance(heard[-1], kvs.StreamShutdown | kvs.StreamClosed | kvs.StreamStateChanged)


def test_asyncio_pressure_fails_put_frame(info: kvs.StreamInfo) -> None:
    """As in the blocking producer."""

    async def main() -> StatusCode | None:
        provider = provider_of(
            kvs.StreamCallbacks(stream_data_available=lambda record: S.INVALID_OPERATION)
        )
        producer = aio.Producer(endpoint_url=NOBODY, callbacks=provider)
        stream = producer.open_stream("door", info)
        try:
            await stream.put_frame(kvs.Frame(b"x", kvs.now(), key_frame=True))
        except kvs.KvsError as error:
            return error.status
        finally:
            await producer.close(0)
        return None

    assert asyncio.run(main()) is S.INVALID_OPERATION


def test_a_callback_that_leaves_ends_only_itself(
    endpoint_url: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """`sys.exit()` in any of them: others go on, the next are called, all is freed."""
    called: list[str] = []

    def leave(record: object) -> None:
        called.append(type(record).__name__)
        raise SystemExit(3)

    def free(_: int = 0) -> None:
        called.append("free")
        raise SystemExit(3)

    asked = provider_of(
        kvs.ApiCallbacks(describe_stream=leave, free=free),
        kvs.StreamCallbacks(stream_closed=leave, stream_shutdown=leave, free=lambda: free(1)),
    )
    with kvs.Producer(endpoint_url=endpoint_url) as other:
        stream = other.open_stream("other", info)
        producer = kvs.Producer(endpoint_url=endpoint_url, callbacks=asked)
        door = producer.open_stream("door", info)
        why_not_ready(door, "SystemExit")
        producer.close(0)
        for frame in frames(5):
            stream.put_frame(frame)
    assert {"DescribeStream", "StreamShutdown"} <= set(called)
    assert called.count("free") == 2


def test_a_callbacks_own_time_out_is_not_ours(endpoint_url: str, info: kvs.StreamInfo) -> None:
    """It raised one within milliseconds; nothing took as long as a call may."""

    def give_up(call: core.Call) -> None:
        raise kvs.KvsError(S.OPERATION_TIMED_OUT, "the vault is slow")

    asked = provider_of(kvs.ApiCallbacks(describe_stream=give_up))
    with kvs.Producer(endpoint_url=endpoint_url, callbacks=asked) as producer:
        stream = producer.open_stream("door", info)
        assert "the vault is slow" in why_not_ready(stream, "the last call")
