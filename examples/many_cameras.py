"""Put several live streams in one asyncio program, with one producer.

    python examples/many_cameras.py 4 3

The arguments are the number of streams (camera-0, camera-1, ...) and of seconds. The frames are
random bytes: the example shows how tasks share a producer.
"""

import asyncio
import random
import sys

import kvsproducer as kvs
from kvsproducer import aio

FRAME_RATE = 15


async def camera(producer: aio.Producer, name: str, seconds: float) -> None:
    """Put the frames of one camera, with a key frame every second."""
    info = kvs.StreamInfo.video(
        "h264", retention="PT1H", frame_rate=FRAME_RATE, nal_adaptation=kvs.NalAdaptation.NONE
    )
    async with producer.open_stream(name, info) as stream:
        for number in range(int(seconds * FRAME_RATE)):
            data = random.randbytes(5000)
            await stream.put_frame(
                kvs.Frame(data, pts=kvs.now(), key_frame=number % FRAME_RATE == 0)
            )
            await asyncio.sleep(1 / FRAME_RATE)
    print(name, stream.account())


async def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    cameras, seconds = int(sys.argv[1]), float(sys.argv[2])
    # Closing a stream waits this long for its last acks.
    times = kvs.ClientInfo(stop_stream_timeout="PT30S")
    async with aio.Producer(device_info=kvs.DeviceInfo(client_info=times)) as producer:
        await asyncio.gather(
            *(camera(producer, f"camera-{number}", seconds) for number in range(cameras))
        )


if __name__ == "__main__":
    asyncio.run(main())
