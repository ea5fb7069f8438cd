"""Serve a producer's metrics for Prometheus, and a health check.

    python examples/metrics.py front-door 2

The program puts random bytes in place of video frames for the given number of seconds. It serves
`/metrics` and `/health` on a free port of this machine, and reads both itself at the end. It needs
`pip install 'kvsproducer[metrics]'`.
"""

import random
import sys
import time
import urllib.request

import kvsproducer as kvs

FRAME_RATE = 15


def main(name: str, seconds: float) -> None:
    info = kvs.StreamInfo.video(
        "h264", retention="PT1H", frame_rate=FRAME_RATE, nal_adaptation=kvs.NalAdaptation.NONE
    )
    with kvs.Producer() as producer, kvs.MetricsServer(producer, 0, max_silence="PT30S") as server:
        print("listening on", server.url)
        with producer.open_stream(name, info) as stream:
            for number in range(int(seconds * FRAME_RATE)):
                stream.put_frame(
                    kvs.Frame(
                        random.randbytes(5000), pts=kvs.now(), key_frame=number % FRAME_RATE == 0
                    )
                )
                time.sleep(1 / FRAME_RATE)
            stream.flush()
            with urllib.request.urlopen(server.url + "/health") as answer:
                print("health:", answer.status, answer.read().decode().strip())
            with urllib.request.urlopen(server.url + "/metrics") as answer:
                for line in answer.read().decode().splitlines():
                    if line.startswith("kvs_stream_frames_total"):
                        print(line)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], float(sys.argv[2]))
