"""What a stream tells, three ways: `on_event`, `async for`, and C-style callbacks.

    python examples/events.py front-door 2

Puts stand-ins of frames for so many seconds, first with a listener, then in asyncio, then with
callbacks one of which refuses to go on when too much waits to be sent.
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
    """A key frame every second, a few kilobytes each."""
    return kvs.Frame(random.randbytes(5000), pts=kvs.now(), key_frame=number % FRAME_RATE == 0)


def listen(event: kvs.Event) -> None:
    """Called on a thread of its own; may be slow, may fail."""
    match event:
        case kvs.FragmentAcked() if event.ack.ack_type is kvs.AckType.PERSISTED:
            print("stored", event.ack.timecode)
        case kvs.FrameDropped():
            print("lost", event.count, "frames:", event.reason.value)
        case kvs.StreamErrorReported():
            print("trouble", event.status.name, event.detail)


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
    await watching  # it ends with the producer


def with_callbacks(name: str, seconds: float) -> None:
    def too_late(pressure: kvs.StreamLatencyPressure) -> kvs.StatusCode:
        print("too much waits:", pressure.duration)
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
