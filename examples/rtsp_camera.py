"""Store the video of a network camera without transcoding; reconnect when it fails.

    python examples/rtsp_camera.py rtsp://camera.local/stream front-door 60

The program streams the camera's H.264 or H.265 for the given number of seconds. The URL may also be
the path of a file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Literal

import av
import av.container

import kvsproducer as kvs

OPTIONS = {"rtsp_transport": "tcp"}  # UDP loses packets
PAUSE_S = 1.0  # wait this long before reconnecting


def stream_info(camera: av.container.InputContainer) -> kvs.StreamInfo:
    """Describe the stream from what the camera says about its video."""
    context = camera.streams.video[0].codec_context
    if context.name not in ("h264", "hevc"):
        sys.exit(f"the camera sends {context.name}; set it to H.264 or H.265")
    record = bytes(context.extradata or b"")
    codec: Literal["h264", "h265"] = "h264" if context.name == "h264" else "h265"
    return kvs.StreamInfo.video(codec, codec_private_data=record, retention="PT24H")


def frames(camera: av.container.InputContainer) -> Iterator[kvs.Frame]:
    """Yield frames whose times follow this machine's clock: the first frame's time is now."""
    offset = None
    for packet in camera.demux(video=0):
        if packet.pts is None or packet.time_base is None or not packet.size:
            continue  # the first packet of a camera often has no time
        if offset is None:
            offset = kvs.now() - kvs.ticks(float(packet.pts * packet.time_base))
        yield kvs.Frame.from_packet(packet, offset=offset)


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    url, stream_name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with kvs.Producer() as producer:
        end = time.monotonic() + seconds
        stream = None
        while time.monotonic() < end:
            try:
                with av.open(url, options=OPTIONS, timeout=(10, 10)) as camera:
                    if stream is None:
                        stream = producer.open_stream(stream_name, stream_info(camera))
                    for frame in frames(camera):
                        stream.put_frame(frame)
                        if time.monotonic() >= end:
                            break
            except av.error.FFmpegError as error:
                # The text of the error may contain the password of the URL.
                print(f"the camera failed: {type(error).__name__}", file=sys.stderr)
            time.sleep(PAUSE_S)  # FFmpeg reports the loss of a camera as the end of the media
        if stream is not None:
            print(stream.close())


if __name__ == "__main__":
    main()
