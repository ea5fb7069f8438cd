"""ffmpeg as producer and as reader: its Matroska is accepted, and it decodes GetMedia."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import pytest

from kvsproducer.endpoint import LocalEndpoint
from kvsproducer.mkv.events import EbmlHeader
from kvsproducer.mkv.parser import MkvParser

Make = Callable[..., Any]
FRAMES = 75


def muxed(*, live: bool, b_frames: int) -> tuple[bytes, list[int]]:
    """Return three seconds of H.264 in Matroska by ffmpeg, and the sorted times in ms.

    There is one cluster per second.
    """
    buffer = io.BytesIO()
    options = {"cluster_time_limit": "980", "live": "1" if live else "0"}
    times = []
    with av.open(buffer, "w", format="matroska", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 25
        stream.codec_context.options = {"bf": str(b_frames), "sc_threshold": "0"}
        for n in range(FRAMES):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([n * 3 % 256]) * plane.buffer_size)
            frame.pts, frame.time_base = n, Fraction(1, 25)
            container.mux(stream.encode(frame))
            times.append(40 * n)
        container.mux(stream.encode())
    return buffer.getvalue(), times


def documents(data: bytes) -> list[bytes]:
    """Split GetMedia's response into its segments."""
    parser = MkvParser()
    parser.receive_data(data)
    found: list[bytearray] = []
    while (event := parser.next_event()) is not None:
        if isinstance(event, EbmlHeader):
            found.append(bytearray())
        found[-1] += event.raw
    return [bytes(document) for document in found]


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_matroska_of_ffmpeg_is_stored_and_decodable(
    endpoint: LocalEndpoint, put_media: Make, aws: Make, live: bool, b_frames: int
) -> None:
    """Segment and clusters may have known or unknown sizes, with SeekHead, Void, Cues, Tags."""
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    data, times = muxed(live=live, b_frames=b_frames)
    upload = put_media(endpoint, "door", x_amzn_fragment_timecode_type="RELATIVE")
    upload.send(data)
    upload.end()
    upload.head()
    acks = upload.acks()
    assert [ack for ack in acks if ack["EventType"] == "ERROR"] == []
    assert sum(ack["EventType"] == "PERSISTED" for ack in acks) >= 3
    answer = aws(endpoint, "kinesis-video-media").get_media(
        StreamName="door", StartSelector={"StartSelectorType": "EARLIEST"}
    )
    decoded = []
    for document in documents(answer["Payload"].read()):
        with av.open(io.BytesIO(document)) as container:
            decoded += [round(frame.time * 1000) for frame in container.decode(video=0)]
    assert sorted(decoded) == times
