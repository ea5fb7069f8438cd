"""The endpoint dies in the middle of an upload (SIGKILL) and comes back: nothing is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

import kvsproducer as kvs
from kvsproducer.endpoint import local_endpoint


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("kind", [kvs.StreamingType.OFFLINE, kvs.StreamingType.REALTIME])
def test_endpoint_killed_and_restarted(
    kind: kvs.StreamingType, serve: Callable[..., Any], kit: Any
) -> None:
    """It is killed twice; every frame is stored unchanged, and the account is right."""
    served, media = serve(), kit.Media(size=20_000)
    events: list[kvs.Event] = []
    with kvs.Producer(endpoint_url=served.url, on_event=events.append) as producer:
        stream = producer.open_stream("door", kit.info(streaming_type=kind))
        for part in range(3):
            for frame in media.frames(100):
                stream.put_frame(frame)
                time.sleep(0.002)
            if part < 2:
                kit.until(lambda: stream.account().persisted > 10)
                served.kill()
                for frame in media.frames(20):
                    stream.put_frame(frame)
                served.start()
        account = stream.close(timeout=40)
    assert account == kvs.FrameAccount(340, 340, 0, 0, 0)
    kit.assert_stored(served.url, "door", media.put)
    assert not any(isinstance(event, kvs.FrameDropped) for event in events)


def test_endpoint_that_comes_late(kit: Any) -> None:
    """Frames that are put before the endpoint starts are held and then stored."""
    media, port = kit.Media(), kit.free_port()
    with contextlib.ExitStack() as stack:
        producer = kvs.Producer(endpoint_url=f"http://127.0.0.1:{port}")
        stream = producer.open_stream("door", kit.info())
        for frame in media.frames(50):
            stream.put_frame(frame)
        assert stream.account() == kvs.FrameAccount(50, 0, 0, 0, 50)
        endpoint = stack.enter_context(local_endpoint(port=port))
        assert producer.close(timeout=30) == {"door": kvs.FrameAccount(50, 50, 0, 0, 0)}
        kit.assert_stored(endpoint.url, "door", media.put)
