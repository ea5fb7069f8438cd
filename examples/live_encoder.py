"""Encode pictures with PyAV and put each frame into a stream at once.

    python examples/live_encoder.py front-door 5

The program streams a moving bar in real time for the given number of seconds, and prints each
fragment that the service has stored.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import av.stream

import kvsproducer as kvs

FRAME_RATE = 25
WIDTH, HEIGHT = 320, 240


def pictures(count: int) -> Iterator[av.VideoFrame]:
    """Yield grey pictures with a moving bar."""
    for number in range(count):
        picture = av.VideoFrame(WIDTH, HEIGHT, "gray")
        plane = picture.planes[0]
        row = bytearray(plane.line_size)
        bar = (number * 4) % WIDTH
        row[bar : bar + 8] = b"\xff" * 8
        plane.update(bytes(row) * HEIGHT)
        yield picture.reformat(format="yuv420p")


def encoded(seconds: float) -> Iterator[av.Packet[av.stream.Stream]]:
    """Yield H.264 access units in Annex-B, with a key frame every two seconds."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.framerate = Fraction(FRAME_RATE)
    encoder.gop_size = 2 * FRAME_RATE
    encoder.options = {"tune": "zerolatency", "preset": "ultrafast"}
    for picture in pictures(int(seconds * FRAME_RATE)):
        yield from encoder.encode(picture)
        time.sleep(1 / FRAME_RATE)  # a camera delivers pictures at this rate


def show(event: kvs.Event) -> None:
    if isinstance(event, kvs.FragmentAcked) and event.ack.ack_type is kvs.AckType.PERSISTED:
        print("stored fragment", event.ack.timecode)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    stream_name, seconds = sys.argv[1], float(sys.argv[2])
    info = kvs.StreamInfo.video("h264", retention="PT24H", frame_rate=FRAME_RATE)
    with kvs.Producer(on_event=show) as producer:
        with producer.open_stream(stream_name, info) as stream:
            for packet in encoded(seconds):
                frame = kvs.Frame(bytes(packet), pts=kvs.now(), key_frame=packet.is_keyframe)
                stream.put_frame(frame)
    print(stream.account())


if __name__ == "__main__":
    main()
