"""An hour without a network, in simulated time: memory is flat, losses are told, it comes back.

The producer's core with its policy of continuous retry against the endpoint's PutMedia core. A
camera of 2 Mbit/s films on with a store of 128 MiB, which is full after nine minutes.
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable

import pytest
from tests.simulation.clock import SimulatedClock

from kvsproducer import client as core
from kvsproducer.endpoint.fragment import Fragment, FragmentNumbers
from kvsproducer.endpoint.put_media import PutMediaRequest, PutMediaSession
from kvsproducer.limits import MAX_BACKOFF
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv.events import Block
from kvsproducer.producer.continuous_retry import ContinuousRetry

START = 17_000_000_000_000_000
SECOND = 10_000_000
FPS, GOP = 25, 50  # a key frame every two seconds
FRAME_BYTES = 10_000
STORAGE = 128 << 20
OUTAGE_S = 3600
CONNECT_S = 5  # how long an attempt to connect takes while there is no network
MB = 1_000_000


def resident() -> int:
    """Resident memory of this process, bytes."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Outage:
    """A camera, its producer's core, and a service behind a network that may be gone."""

    def __init__(self) -> None:
        self.clock = SimulatedClock(START)
        self.network = True
        self.put = 0
        self.dropped = 0
        self.stored: set[int] = set()
        self.errors: list[core.StreamErrorReported] = []
        self.uploads: dict[int, PutMediaSession] = {}
        self.upload_times: list[int] = []
        self.numbers = FragmentNumbers()
        # What was seen on the way: memory of the process and bytes of the store, each time.
        self.full = (0, 0)
        self.samples: list[tuple[int, int]] = []
        self.account = core.FrameAccount(0, 0, 0, 0, 0)  # when the network came back
        self.back_at = self.live_at = 0
        dice = random.Random("outage")
        info = core.StorageInfo(storage_size=STORAGE)
        self.client = core.Client(
            core.DeviceInfo(storage_info=info),
            now=START,
            dice=dice.randrange,
            retry_policy=ContinuousRetry(),
        )
        self.stream = self.client.open_stream(
            core.StreamInfo.video(
                "h264",
                name="door",
                frame_rate=FPS,
                buffer_duration="PT2H",
                retention="PT24H",
                nal_adaptation=0,
            ),
            START,
        )

    @property
    def now(self) -> int:
        return self.clock.now

    def seen(self) -> tuple[int, int]:
        return resident(), self.client.store.used_bytes

    def film(self, seconds: float) -> None:
        """Put frames at the camera's pace, and let everything else happen in between."""
        for _ in range(round(seconds * FPS)):
            self.run(self.now + SECOND // FPS)
            data = self.put.to_bytes(8, "big") + bytes(FRAME_BYTES - 8)
            key = self.put % GOP == 0
            frame = core.Frame(data, self.now, duration=SECOND // FPS, key_frame=key)
            self.stream.put_frame(frame, self.now)
            self.put += 1
            self.settle()

    def run(self, until: int) -> None:
        while (action := self.clock.advance(until)) is not None:
            action()
            self.settle()

    def settle(self) -> None:
        while (effect := self.client.poll_effect()) is not None:
            if isinstance(effect, core.PutStream):
                self.clock.later(max(0, effect.not_before - self.now), self.connect(effect))
            elif isinstance(effect, core.Call):
                self.call(effect)
            elif isinstance(effect, core.DataAvailable) and effect.upload in self.uploads:
                self.send(effect.upload)
            elif isinstance(effect, core.UploadAborted):
                self.uploads.pop(effect.upload, None)
        while (event := self.client.next_event()) is not None:
            if isinstance(event, core.FrameDropped):
                self.dropped += event.count
            elif isinstance(event, core.StreamErrorReported):
                self.errors.append(event)

    def call(self, call: core.Call) -> None:
        wait = max(0, call.not_before - self.now)

        def answered() -> None:
            good = self.network
            result = (200, self.answer(call)) if good else (599, None)
            self.client.call_result(call, result[0], self.now, result[1], "no route to host")

        self.clock.later(wait + (SECOND // 20 if self.network else CONNECT_S * SECOND), answered)

    def answer(self, call: core.Call) -> object:
        return {
            core.GetSecurityToken: core.AuthInfo(expiration=self.now + 3600 * SECOND),
            core.GetStreamingToken: core.AuthInfo(expiration=self.now + 3600 * SECOND),
            core.CreateDevice: "device",
            core.DescribeStream: core.StreamDescription("arn", retention=24 * 3600),
            core.GetStreamingEndpoint: "https://data",
        }.get(type(call))

    def connect(self, call: core.PutStream) -> Callable[[], None]:
        def connected() -> None:
            self.client.call_result(call, 200, self.now)
            if not self.network:
                self.stream.upload_ended(call.upload, 599, self.now, "no route to host")
                return
            request = PutMediaRequest(True, call.start_timestamp, True)
            session = PutMediaSession(request, self.numbers, self.now)
            self.uploads[call.upload] = session
            self.upload_times.append(self.now)
            self.send(call.upload)

        return connected

    def send(self, number: int) -> None:
        """Give an upload everything there is; the service stores and says so at once."""
        session = self.uploads[number]
        while True:
            buffers, status = self.stream.next_buffers(number, 1 << 16, self.now)
            session.receive_data(b"".join(buffers), self.now)
            while (fragment := session.next_fragment()) is not None:
                self.store(fragment)
                session.fragment_stored(fragment.info.number, persisted=True)
            while number in self.uploads and (ack := session.next_ack()) is not None:
                self.stream.receive_ack(number, ack, self.now)
            if status is not core.ReadStatus.MORE or number not in self.uploads:
                break
        if status is core.ReadStatus.END_OF_STREAM:
            self.uploads.pop(number, None)
            self.stream.upload_ended(number, 200, self.now)

    def store(self, fragment: Fragment) -> None:
        parser = MkvParser()
        parser.receive_data(b"".join(fragment.parts))
        parser.receive_eof()
        while (event := parser.next_event()) is not None:
            if isinstance(event, Block):
                self.stored.add(int.from_bytes(bytes(event.frames[0])[:8], "big"))

    def cut(self) -> None:
        """The network is gone, and the connections with it."""
        self.network = False
        for number in list(self.uploads):
            del self.uploads[number]
            self.stream.upload_ended(number, 599, self.now, "connection lost")
        self.settle()


@pytest.fixture(scope="module")
def outage() -> Outage:
    """One hour of it, and what was seen on the way (it takes some seconds)."""
    one = Outage()
    one.film(60)
    assert one.stream.state is core.StreamState.STREAMING
    one.cut()
    one.film(12 * 60)  # until the store is full, and a little more
    one.full = one.seen()
    for _ in range(8):
        one.film((OUTAGE_S - 12 * 60) / 8)
        one.samples.append(one.seen())
    one.account, one.back_at = one.stream.account(), one.now
    one.network = True
    first_after = one.put
    for _ in range(60 * FPS):
        one.film(1 / FPS)
        if not one.live_at and max(one.stored) >= first_after:
            one.live_at = one.now
    return one


def test_memory_is_flat(outage: Outage, record_property: Callable[[str, object], None]) -> None:
    """The store is full and never fuller; the process does not grow while frames come and go."""
    full, used = outage.full
    assert used > STORAGE * 0.97
    assert all(STORAGE * 0.97 < bytes_ <= STORAGE for _, bytes_ in outage.samples)
    growth = [(memory - full) / MB for memory, _ in outage.samples]
    record_property("growth_mb", growth)
    assert max(growth) < 20


def test_the_oldest_fragments_were_dropped_and_reported(outage: Outage) -> None:
    """Every frame is stored, or told as dropped, or held; the newest ones are kept."""
    account = outage.account
    frames = (60 + OUTAGE_S) * FPS
    assert account.accepted == frames
    assert account.persisted + account.dropped + account.held == frames
    kept_s = account.held / FPS
    assert 0.9 * STORAGE / (FRAME_BYTES * FPS) < kept_s < STORAGE / (FRAME_BYTES * FPS)
    assert outage.dropped == outage.stream.account().dropped  # while it reconnected, too
    gap = sorted(set(range(max(outage.stored))) - outage.stored)
    assert gap == list(range(gap[0], gap[0] + outage.dropped))
    assert gap[0] >= 58 * FPS  # the last fragments before the cut may have had no ack
    assert (gap[-1] + 1) % GOP == 0  # whole fragments


def test_it_is_live_again(outage: Outage, record_property: Callable[[str, object], None]) -> None:
    """After the next attempt, whose pause is bounded, within one key frame's time."""
    back = outage.back_at
    connected = outage.upload_times[-1]
    live = outage.live_at
    assert outage.stream.failure is None
    assert live
    record_property("connected_s", (connected - back) / SECOND)
    assert connected - back <= 2 * MAX_BACKOFF + (CONNECT_S + 1) * SECOND
    assert live - max(connected, back) <= (GOP + 1) * SECOND // FPS + SECOND // FPS
    assert outage.stream.account().held <= 2 * GOP


def test_the_log_stays_readable(outage: Outage) -> None:
    """A line for each failed round of attempts, none a frame."""
    assert 10 < len(outage.errors) < 600
    assert not any(error.fatal for error in outage.errors)
