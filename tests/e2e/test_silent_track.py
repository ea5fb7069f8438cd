"""A camera without microphone, put into a stream that declares sound, against a real endpoint."""

from __future__ import annotations

from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer.endpoint import local_endpoint

PICTURES = 25 * 12


@pytest.mark.parametrize(
    "kind",
    [kvs.StreamingType.REALTIME, kvs.StreamingType.NEAR_REALTIME, kvs.StreamingType.OFFLINE],
)
def test_pictures_are_stored_without_the_sound_that_never_comes(
    kit: Any, kind: kvs.StreamingType
) -> None:
    """In the order of the puts (PASS_THROUGH): the service refuses one fragment, once."""
    info = kvs.StreamInfo.audio_video(
        "h264",
        "alaw",
        retention="PT1H",
        frame_rate=25,
        nal_adaptation=kvs.NalAdaptation.NONE,
        frame_order_mode=kvs.FrameOrderMode.PASS_THROUGH,
        streaming_type=kind,
    )
    events: list[object] = []
    media = kit.Media()
    with local_endpoint() as endpoint:
        with kvs.Producer(endpoint_url=endpoint.url, on_event=events.append) as producer:
            stream = producer.open_stream("door", info)
            for frame in media.frames(PICTURES):
                stream.put_frame(frame)
            account = stream.close(timeout=60)
        found = kit.stored_fragments(endpoint.url, "door")
    stored = [payload for at in sorted(found) for _, payload in found[at]]
    assert [event.track_id for event in events if isinstance(event, kvs.TrackSilent)] == [2]
    assert stored == [frame.data for frame in media.put]
    assert account == (PICTURES, PICTURES, 0, 0, 0)
