"""Receive a stream's events in three ways: `on_event`, `async for`, and C-style callbacks.

    python examples/events.py front-door 2

The program puts random bytes in place of video frames for the given number of seconds, once for
each way. With callbacks, `put_frame` raises an error when too much media waits to be sent.
"""

import asyncio
import random
import sys
import time

import kvsproducer as kvs
from kvsproducer import aio

FRAME_RATE = 15
INFO = kvs.StreamInfo.video(
    "h264", retention="PT1H", frame_rate=FRAME_RATE, nal_adaptation=kvs.NalAdaptation.NONE
)


def frame(number: int) -> kvs.Frame:
    """Return frame `number` of a stream with a key frame every second."""
    return kvs.Frame(random.randbytes(5000), pts=kvs.now(), key_frame=number % FRAME_RATE == 0)


def listen(event: kvs.Event) -> None:
    """Handle an event. The producer calls it on its own thread, so it may be slow or raise."""
    match event:
        case kvs.FragmentAcked() if event.ack.ack_type is kvs.AckType.PERSISTED:
            print("stored", event.ack.timecode)
        case kvs.FrameDropped():
            print("dropped", event.count, "frames:", event.reason.value)
        case kvs.StreamErrorReported():
            print("error", event.status.name, event.detail)


def with_a_listener(name: str, seconds: float) -> None:
    with kvs.Producer(on_event=listen) as producer:
        with producer.open_stream(name, INFO) as stream:
            for number in range(int(seconds * FRAME_RATE)):
                stream.put_frame(frame(number))
                time.sleep(1 / FRAME_RATE)


async def in_asyncio(name: str, seconds: float) -> None:
    async with aio.Producer() as producer:

        async def watch() -> None:
            async for event in producer.events():
                if isinstance(event, kvs.StreamStateChanged):
                    print(event.stream, "is", event.new.value)

        watching = asyncio.create_task(watch())
        async with producer.open_stream(name, INFO) as stream:
            for number in range(int(seconds * FRAME_RATE)):
                await stream.put_frame(frame(number))
                await asyncio.sleep(1 / FRAME_RATE)
    await watching  # events() ends when the producer is closed


def with_callbacks(name: str, seconds: float) -> None:
    def too_late(pressure: kvs.StreamLatencyPressure) -> kvs.StatusCode:
        print("too much media waits to be sent:", pressure.duration)
        return kvs.StatusCode.OPERATION_TIMED_OUT  # put_frame raises it

    provider = kvs.CallbacksProvider()
    provider.add(
        kvs.StreamCallbacks(
            stream_ready=lambda event: print(event.stream, "is ready"),
            stream_latency_pressure=too_late,
        )
    )
    with kvs.Producer(callbacks=provider) as producer:
        with producer.open_stream(name, INFO) as stream:
            for number in range(int(seconds * FRAME_RATE)):
                stream.put_frame(frame(number))
                time.sleep(1 / FRAME_RATE)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    stream_name, duration = sys.argv[1], float(sys.argv[2])
    with_a_listener(stream_name, duration)
    asyncio.run(in_asyncio(stream_name, duration))
    with_callbacks(stream_name, duration)
