"""The life of a frame, step by step: read this first.

One frame goes from `put_frame` to the wire, and its acknowledgement comes back. There is no
network, thread or clock: the test calls the core as the engine in `kvsproducer.producer` does.
"""

from __future__ import annotations

from kvsproducer import client as core
from kvsproducer.mkv import MkvParser, events

SECOND = 10_000_000  # ticks of 100 ns
NOW = 17_000_000_000_000_000  # a time in 2023; every call of the core takes the time as an argument
SPS = bytes.fromhex("6742c00ada189a1000000300100000030328f1226a")
PPS = bytes.fromhex("68ce039c80")
SLICE = bytes.fromhex("65") + b"the picture itself"
START = b"\x00\x00\x00\x01"


def new_client() -> core.Client:
    """Return a client whose random numbers are always 0."""
    return core.Client(core.DeviceInfo(name="doorbell"), now=NOW, dice=lambda sides: 0)


def answer_calls(client: core.Client) -> list[core.Effect]:
    """Answer every service call of the core; return its other effects."""
    answers = {
        core.GetSecurityToken: core.AuthInfo(data="keys"),
        core.CreateDevice: "arn:device",
        core.DescribeStream: core.StreamDescription("arn:stream"),
        core.GetStreamingEndpoint: "http://127.0.0.1:8080",
        core.GetStreamingToken: core.AuthInfo(data="keys"),
        core.PutStream: None,
    }
    others: list[core.Effect] = []
    while (effect := client.poll_effect()) is not None:
        if isinstance(effect, core.Call):
            client.call_result(effect, 200, NOW, answer=answers[type(effect)])
        if not isinstance(effect, core.Call) or isinstance(effect, core.PutStream):
            others.append(effect)
    return others


def test_the_life_of_a_frame() -> None:
    """put_frame -> NAL adaptation -> Matroska -> store and view -> upload -> ack -> removed."""
    client = new_client()
    stream = client.open_stream(core.StreamInfo.video("h264", name="door"), NOW)

    # 1. The core makes calls for credentials, the stream and an endpoint. Then the stream is
    #    parked: a stream without media opens no upload.
    assert answer_calls(client) == []
    assert stream.state is core.StreamState.READY

    # 2. The frame is put as a camera delivers it: Annex-B, with parameter sets in front.
    data = START + SPS + START + PPS + START + SLICE
    frame = core.Frame(data, pts=NOW, duration=SECOND // 25, key_frame=True)
    assert frame.data is data  # immutable bytes are taken by reference
    stream.put_frame(frame, NOW)
    assert stream.account() == core.FrameAccount(1, 0, 0, 0, held=1)

    # 3. Now there is media, so the core starts an upload: a PutMedia request.
    put, wake = answer_calls(client)
    assert isinstance(put, core.PutStream)
    assert wake == core.DataAvailable("door", put.upload)
    assert put.endpoint == "http://127.0.0.1:8080"
    assert stream.state is core.StreamState.STREAMING

    # 4. The upload reads its bytes. They are a list of buffers: small headers made by the core, and
    #    views of the camera's bytes.
    buffers, status = stream.next_buffers(put.upload, 1 << 20, NOW)
    assert status is core.ReadStatus.NO_MORE_DATA
    assert any(isinstance(part, memoryview) and part.obj is data for part in buffers)

    # 5. Together they are Matroska: a header that names the codec, a cluster, and a block with the
    #    NAL units, each behind its length.
    parser = MkvParser()
    parser.receive_data(b"".join(buffers))
    parsed = []
    while (event := parser.next_event()) is not None:
        parsed.append(event)
    (tracks,) = (event for event in parsed if isinstance(event, events.Tracks))
    assert (tracks.entries[0].width, tracks.entries[0].height) == (96, 64)
    (cluster,) = (event for event in parsed if isinstance(event, events.ClusterStart))
    assert cluster.timecode == NOW // 10_000  # milliseconds
    (block,) = (event for event in parsed if isinstance(event, events.Block))
    assert block.key_frame
    lengths = [len(unit).to_bytes(4, "big") + unit for unit in (SPS, PPS, SLICE)]
    assert bytes(block.frames[0]) == b"".join(lengths)

    # 6. The stream is stopped: a tag ends the fragment, and the upload waits for acks.
    stream.stop(NOW)
    assert core.DataAvailable("door", put.upload) in answer_calls(client)
    buffers, status = stream.next_buffers(put.upload, 1 << 20, NOW)
    assert b"AWS_KINESISVIDEO_END_OF_FRAGMENT" in b"".join(buffers)
    assert status is core.ReadStatus.AWAITING_PERSISTED_ACK

    # 7. The service sends acks. RECEIVED is not enough; PERSISTED removes the frame.
    ack = b'{"EventType":"%s","FragmentTimecode":1700000000000,"FragmentNumber":"1"}\n'
    stream.receive_ack(put.upload, ack % b"RECEIVED", NOW)
    assert stream.account().held == 1
    stream.receive_ack(put.upload, ack % b"PERSISTED", NOW)
    assert stream.account() == core.FrameAccount(1, persisted=1, dropped=0, skipped=0, held=0)

    # 8. The upload ends its body, and the stream is closed.
    assert stream.next_buffers(put.upload, 1 << 20, NOW) == ([], core.ReadStatus.END_OF_STREAM)
    assert stream.closed
