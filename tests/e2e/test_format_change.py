"""A camera changes its picture size in mid-stream: what is stored decodes, all of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import pytest

import kvsproducer as kvs
from kvsproducer.codecs import annexb_to_avcc, h264, h265, split_annexb
from kvsproducer.endpoint import local_endpoint

TICK = 400_000
START = 17_000_000_000_000_000
CODECS = [("libx264", "h264", {"g": "5"}), ("libx265", "h265", {"x265-params": "keyint=5"})]
BUILDERS = {"h264": h264.build_avcc, "h265": h265.build_hvcc}


def encoded(encoder: str, size: tuple[int, int], options: dict[str, str]) -> Iterator[Any]:
    """Ten pictures in Annex-B, a key frame every five."""
    context: Any = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = *size, "yuv420p"
    context.time_base = context.framerate = Fraction(25)
    context.options = {"preset": "ultrafast", "tune": "zerolatency", **options}
    for index in range(10):
        picture = av.VideoFrame(*size, "yuv420p")
        for plane in picture.planes:
            plane.update(bytes((9 * index + at) % 256 for at in range(plane.buffer_size)))
        picture.pts = index
        yield from context.encode(picture)
    yield from context.encode(None)


def described(codec: str, packets: list[bytes], *, lengths: bool) -> kvs.StreamInfo:
    """A stream of Annex-B frames, or of frames with lengths and a record of the first sets."""
    if not lengths:
        return kvs.StreamInfo.video(codec, retention="PT1H")
    track = kvs.StreamInfo.video(codec).tracks[0]
    record = BUILDERS[codec](split_annexb(packets[0]))
    return kvs.StreamInfo.video(
        codec,
        retention="PT1H",
        tracks=(replace(track, codec_private_data=record),),
        nal_adaptation=kvs.NalAdaptation.NONE,
    )


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize(("encoder", "codec", "options"), CODECS)
def test_each_fragment_decodes_at_its_own_size(
    kit: Any, encoder: str, codec: str, options: dict[str, str], lengths: bool
) -> None:
    """64x48, then 128x96, then 64x48 again: three sessions of one stream, and no picture lost.

    In Annex-B, and with `lengths` as an encoder gives it that writes avc3 or hev1.
    """
    sizes = [(64, 48), (128, 96), (64, 48)]
    with local_endpoint() as endpoint:
        with kvs.Producer(region_name="us-west-2", endpoint_url=endpoint.url) as producer:
            packets = [packet for size in sizes for packet in encoded(encoder, size, options)]
            info = described(codec, [bytes(packets[0])], lengths=lengths)
            with producer.open_stream("cam", info) as stream:
                for number, packet in enumerate(packets):
                    at, data = START + number * TICK, bytes(packet)
                    if lengths:
                        data = b"".join(annexb_to_avcc(data)[0])
                    stream.put_frame(
                        kvs.Frame(data, at, duration=TICK, key_frame=packet.is_keyframe)
                    )
        archive = kit.client("kinesis-video-archived-media", endpoint.url)
        listed = archive.list_fragments(StreamName="cam")["Fragments"]
        listed.sort(key=lambda fragment: fragment["ProducerTimestamp"])
        pictures = []
        for fragment in listed:
            answer = archive.get_media_for_fragment_list(
                StreamName="cam", Fragments=[fragment["FragmentNumber"]]
            )
            with av.open(io.BytesIO(answer["Payload"].read()), format="matroska") as container:
                video = container.streams.video[0]
                declared = (video.codec_context.width, video.codec_context.height)
                pictures += [
                    (declared, (picture.width, picture.height))
                    for picture in container.decode(video)
                ]
    assert pictures == [(size, size) for size in sizes for _ in range(10)]
