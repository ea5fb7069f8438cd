"""A client core with a simulated service that answers at once, for the tests of its parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kvsproducer import client as kvs
from kvsproducer.client.core import StreamCore
from kvsproducer.heap import ArenaStore, ContentStore, HoldingStore, ReferenceStore
from kvsproducer.heap.files import SpillFiles
from kvsproducer.heap.video_memory import VideoMemory
from kvsproducer.status import KvsError

NOW = 17_000_000_000_000_000
MS = 10_000
SECOND = 10_000_000


class Desk:
    """One stream and a simulated shell, which the test controls."""

    def __init__(
        self,
        device: kvs.DeviceInfo | None = None,
        make_store: Callable[[int], ContentStore] = ReferenceStore,
        **info: Any,
    ) -> None:
        self.now = NOW  # monotonic clock
        self.step = 0  # wall clock minus monotonic clock, ticks
        self.answers: dict[type[kvs.Call], list[tuple[int, object]]] = {}
        self.causes: dict[type[kvs.Call], type[KvsError]] = {}
        self.calls: list[kvs.Call] = []
        self.effects: list[kvs.Effect] = []
        self.events: list[kvs.Event] = []
        self.token_life = 3600 * SECOND
        device = device or kvs.DeviceInfo(client_info=kvs.ClientInfo(automatic_streaming_flags=256))
        self.client = kvs.Client(
            device,
            now=self.now,
            dice=lambda sides: sides // 2,
            wall=lambda now: now + self.step,
            store=make_store(device.storage_info.storage_size),
        )
        info.setdefault("nal_adaptation", 0)
        info.setdefault("name", "door")
        self.stream = self.client.open_stream(kvs.StreamInfo.video("h264", **info), self.now)

    def settle(self) -> None:
        """Answer all calls, and collect the other effects and the events."""
        while (effect := self.client.poll_effect()) is not None:
            if isinstance(effect, kvs.Call):
                self.calls.append(effect)
                result, answer = self.answer(effect)
                cause = None if result == 200 else self.causes.get(type(effect))
                self.client.call_result(effect, result, self.now, answer, cause=cause)
            else:
                self.effects.append(effect)
        while (event := self.client.next_event()) is not None:
            self.events.append(event)

    def answer(self, call: kvs.Call) -> tuple[int, object]:
        prepared = self.answers.get(type(call))
        if prepared:
            return prepared.pop(0)
        life = self.now + self.step + self.token_life
        return 200, {
            kvs.GetSecurityToken: kvs.AuthInfo(),
            kvs.GetStreamingToken: kvs.AuthInfo(expiration=life),
            kvs.CreateDevice: "device-arn",
            kvs.CreateStream: "stream-arn",
            kvs.DescribeStream: kvs.StreamDescription("stream-arn"),
            kvs.GetStreamingEndpoint: "https://data",
        }.get(type(call))

    def put(
        self, index: int, *, key: bool | None = None, data: bytes = b"data", **more: Any
    ) -> None:
        """Put frame `index`. Frames are 200 ms apart, and every fifth is a key frame."""
        frame = kvs.Frame(
            data,
            NOW + index * 200 * MS,
            duration=200 * MS,
            key_frame=index % 5 == 0 if key is None else key,
            **more,
        )
        self.stream.put_frame(frame, self.now)
        self.settle()

    def age_token(self) -> None:
        """Put and read seven frames, and let the token age so that the next frame replaces it."""
        self.token_life = 60 * SECOND
        for index in range(7):
            self.put(index)
        self.read()
        self.now += 58 * SECOND

    def rotate(self) -> None:
        """Put eight frames over upload 0, so that the next key frame begins upload 1.

        The token is about to expire. The last of the frames is not read.
        """
        self.age_token()
        self.put(7)
        self.now += 4 * SECOND

    @property
    def upload(self) -> int:
        """The number of the newest upload."""
        return [call.upload for call in self.calls if isinstance(call, kvs.PutStream)][-1]

    def read(self, upload: int | None = None, limit: int = 1 << 20) -> tuple[bytes, kvs.ReadStatus]:
        buffers, status = self.stream.next_buffers(
            self.upload if upload is None else upload, limit, self.now
        )
        self.settle()
        return b"".join(buffers), status

    def ack(
        self, kind: str, second: int, upload: int | None = None, error: int = 0
    ) -> tuple[bool, bool]:
        timecode = (NOW + second * SECOND) // MS
        extra = f',"ErrorId":{error}' if error else ""
        text = f'{{"EventType":"{kind}","FragmentTimecode":{timecode},"FragmentNumber":"1"{extra}}}'
        number = self.upload if upload is None else upload
        result = self.stream.receive_ack(number, text.encode(), self.now)
        self.settle()
        return result

    def reported(self, kind: type[kvs.Event]) -> list[Any]:
        """Return the events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]


def filled(desk: Callable[..., Any], frames: int = 12, **info: Any) -> tuple[Desk, StreamCore]:
    """Return a desk whose stream got `frames` frames, and the stream's core."""
    d = desk(**info)
    for index in range(frames):
        d.put(index)
    return d, d.stream._core


@pytest.fixture
def store_kind() -> str:
    """Return the kind of the store; modules override it to run their tests with other stores."""
    return "reference"


@pytest.fixture
def desk(store_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Desk]:
    """Return a function that makes a desk; keyword arguments go to `StreamInfo.video`."""

    def video_memory(size: int) -> HoldingStore:
        library = request.getfixturevalue("video_library")()
        return HoldingStore(size, [VideoMemory(library)])

    stores: dict[str, Callable[[int], ContentStore]] = {
        "reference": ReferenceStore,
        "arena": lambda size: ArenaStore(min(size, 16 << 20)),
        "files": lambda size: HoldingStore(size, [SpillFiles(str(tmp_path))]),
        "video memory": video_memory,
    }
    return partial(Desk, make_store=stores[store_kind])
