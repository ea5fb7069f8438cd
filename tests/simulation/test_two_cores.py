"""Producer core and endpoint core face to face, through a seeded bad world: the promise holds.

The promise: a frame that `put_frame` accepted is stored by the service unchanged, or was reported
as dropped, or is still held. Time, calls, latency, cuts, refused and failing fragments, token
expiry and pressure come from one seed; when the world turns kind, everything must come to rest.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from kvsproducer import client as kvs
from kvsproducer.client import events as ev
from kvsproducer.endpoint.fragment import FragmentNumbers
from kvsproducer.endpoint.put_media import PutMediaRequest, PutMediaSession
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv.events import Block, ClusterStart
from kvsproducer.status import KvsError

MS = 10_000
SECOND = 10_000_000
START = 17_000_000_000_000_000
STORM = 40 * SECOND  # how long the world is bad
PATIENCE = 200 * SECOND  # how long it may take to come to rest then
FAILURES = (500, 503, 599, 504, 10006, 0)
CUTS = (500, 599, 504, 10006, 0, 200, 403, 10002)
SKIPPING, RETRIED = (4001, 4006, 4009), (4000, 4003, 5000, 5001)


@dataclass
class Connection:
    """One PutMedia request on its way through the link."""

    upload: int
    session: PutMediaSession
    alive: bool = True
    ended: bool = False  # the body is complete
    wants: bool = True  # the core may have data
    refused: set[int] = field(default_factory=set)
    store_at: int = 0  # when the last fragment will be stored
    data_at: int = 0  # when the last byte sent will arrive
    ack_at: int = 0  # when the last ack will arrive


class World:
    """Both cores, the link between them, and the clock."""

    def __init__(self, seed: int, streaming_type: kvs.StreamingType) -> None:
        self.random = random.Random(f"{seed} {streaming_type.name}")
        self.now = START
        self.kind_from = START + STORM
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.serial = itertools.count()
        self.connections: dict[int, Connection] = {}
        self.numbers = FragmentNumbers()
        self.stored: dict[str, int] = {}  # payload hash -> time in ms; only absolute times say it
        self.accepted: dict[str, int] = {}  # payload hash -> pts
        self.dropped: set[int] = set()
        self.drop_count = 0
        self.errors: list[ev.Event] = []
        small = self.random.random() < 0.4
        info = kvs.DeviceInfo(
            storage_info=kvs.StorageInfo(storage_size=(1 if small else 16) * 1024 * 1024)
        )
        self.client = kvs.Client(info, now=self.now, dice=self.random.randrange)
        self.stream = self.client.open_stream(
            kvs.StreamInfo.video(
                "h264",
                name="s",
                streaming_type=streaming_type,
                nal_adaptation=0,
                buffer_duration=self.random.choice((8, 30, 120)) * SECOND,
                replay_duration=self.random.choice((0, 3, 20)) * SECOND,
                frame_rate=30,
                absolute_fragment_times=self.random.random() < 0.7,
                view_overflow_policy=self.random.choice((0, 1)),
            ),
            self.now,
        )
        self.loss = self.random.choice((0.0, 0.02, 0.1))  # of a cut, per second and connection
        self.refusal = self.random.choice((0.0, 0.05, 0.2))  # of a fragment
        self.failure = self.random.choice((0.0, 0.1, 0.4))  # of a call
        self.bandwidth = self.random.choice((30_000, 200_000, 5_000_000))  # bytes a second
        self.latency = self.random.choice((0, 100, 2500)) * MS
        self.token_life = self.random.choice((35, 60, 3600)) * SECOND
        self.frame = 0
        self.next_frame = self.now
        self.pts = self.now

    # --- the clock ------------------------------------------------------------------------------
    def later(self, delay: int, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + delay, next(self.serial), action))

    @property
    def bad(self) -> bool:
        return self.now < self.kind_from

    def chance(self, probability: float) -> bool:
        return self.bad and self.random.random() < probability

    def run(self, until: int, *, put: bool) -> None:
        """Let time pass in steps of 20 ms."""
        while self.now < until and not self.stream.closed:
            self.now += 20 * MS
            while self.queue and self.queue[0][0] <= self.now:
                heapq.heappop(self.queue)[2]()
                self.settle()
            if put:
                self.put_frames()
            for connection in list(self.connections.values()):
                self.pump(connection)
            timer = self.client.next_timer()
            if timer is not None and timer <= self.now:
                self.client.handle_timer(self.now)
            self.settle()
            self.check_always()

    # --- the writer -----------------------------------------------------------------------------
    def put_frames(self) -> None:
        while self.next_frame <= self.now:
            key = self.frame % 25 == 0
            size = self.random.choice((40, 900, 5000, 20_000)) * (3 if key else 1)
            data = self.frame.to_bytes(8, "big") + self.random.randbytes(size)
            before = self.stream.account().accepted
            try:
                self.stream.put_frame(
                    kvs.Frame(data, self.pts, duration=40 * MS, key_frame=key), self.now
                )
            except kvs.WouldBlock:
                self.next_frame = self.now + 20 * MS
                self.settle()
                return
            except KvsError:
                pass
            else:
                if self.stream.account().accepted > before:
                    self.accepted[hashlib.sha256(data).hexdigest()] = self.pts
            self.frame += 1
            self.pts += 40 * MS
            self.next_frame += 40 * MS
            self.settle()

    # --- the service ----------------------------------------------------------------------------
    def settle(self) -> None:
        while (effect := self.client.poll_effect()) is not None:
            if isinstance(effect, kvs.Call):
                self.serve(effect)
            elif isinstance(effect, kvs.DataAvailable):
                if effect.upload in self.connections:
                    self.connections[effect.upload].wants = True
            elif isinstance(effect, kvs.UploadAborted):
                self.close(effect.upload)
        while (event := self.client.next_event()) is not None:
            if isinstance(event, ev.FrameDropped | ev.FragmentDropped):
                self.drop_count += event.count
                frames = [pts for pts in self.accepted.values() if event.first <= pts <= event.last]
                assert event.count == len(frames), (event, frames)
                assert not self.dropped.intersection(frames), (event, "told twice")
                self.dropped.update(frames)
            elif isinstance(event, ev.StreamErrorReported):
                assert not event.fatal, event
                self.errors.append(event)

    def serve(self, call: kvs.Call) -> None:
        delay = max(call.not_before - self.now, 0) + self.random.randrange(1, 300) * MS
        if isinstance(call, kvs.PutStream):
            self.later(max(call.not_before - self.now, 0), lambda: self.open(call))
            return
        # Failing in the very beginning is final: misconfiguration is not what this is about.
        result = 200
        if self.stream_was_ready() and self.chance(self.failure):
            result = self.random.choice(FAILURES)
        answer: object = None
        if isinstance(call, kvs.GetSecurityToken | kvs.GetStreamingToken):
            answer = kvs.AuthInfo(expiration=self.now + delay + self.token_life)
        elif isinstance(call, kvs.DescribeStream):
            answer = kvs.StreamDescription("arn")
        elif isinstance(call, kvs.GetStreamingEndpoint):
            answer = "http://data"
        elif isinstance(call, kvs.CreateDevice):
            answer = "arn"
        self.later(
            delay,
            lambda: self.client.call_result(
                call, result, self.now, answer if result == 200 else None
            ),
        )

    def stream_was_ready(self) -> bool:
        return hasattr(self, "stream") and self.stream.ready

    def open(self, call: kvs.PutStream) -> None:
        request = PutMediaRequest(call.absolute_timecodes, call.start_timestamp, call.acks)
        session = PutMediaSession(request, self.numbers, self.now)
        self.connections[call.upload] = Connection(call.upload, session)
        self.client.call_result(call, 200, self.now)

    def close(self, upload: int, result: int | None = None) -> None:
        connection = self.connections.pop(upload, None)
        if connection is None:
            return
        connection.alive = False
        connection.session.connection_lost()
        if result is not None:
            self.later(
                self.random.randrange(1, 50) * MS,
                lambda: self.stream.upload_ended(upload, result, self.now),
            )

    def pump(self, connection: Connection) -> None:
        """Move bytes up and acks down."""
        if self.chance(self.loss / 50):
            self.close(connection.upload, self.random.choice(CUTS))
            return
        budget = (self.bandwidth if self.bad else 5_000_000) // 50
        while connection.wants and not connection.ended and budget > 0 and connection.alive:
            limit = min(budget, self.random.choice((1, 17, 4096, 65536)))
            try:
                buffers, status = self.stream.next_buffers(connection.upload, limit, self.now)
            except KvsError:
                self.close(connection.upload)
                return
            data = b"".join(buffers)
            assert len(data) <= max(limit, 0)
            budget -= max(len(data), 1)
            self.send(connection, data)
            if status is kvs.ReadStatus.END_OF_STREAM:
                connection.ended = True
                self.later(
                    max(connection.data_at - self.now, 0) + MS,
                    lambda: connection.session.receive_eof(self.now),
                )
            elif status is kvs.ReadStatus.ABORTED:
                self.close(connection.upload)
                return
            connection.wants = status is kvs.ReadStatus.MORE
        self.service(connection)

    def send(self, connection: Connection, data: bytes) -> None:
        """Bytes are on their way for a while; a cut loses them."""
        at = connection.data_at = max(self.now + self.latency, connection.data_at)
        self.later(at - self.now, lambda: self.deliver(connection, data))

    def deliver(self, connection: Connection, data: bytes) -> None:
        if data and connection.alive:
            connection.session.receive_data(data, self.now)
            refusal = connection.session.refusal
            assert not refusal or "the store failed" in refusal, refusal

    def service(self, connection: Connection) -> None:
        """What the endpoint does with fragments and says about them."""
        session = connection.session
        timer = session.next_timer()
        if timer is not None and timer <= self.now:
            session.handle_timer(self.now)
        while (fragment := session.next_fragment()) is not None:
            timecode = fragment.info.producer_timestamp
            if self.chance(self.refusal):
                if self.random.random() < 0.5:
                    session.fragment_failed(fragment.info.number)
                else:
                    connection.refused.add(timecode)
                    self.refuse(connection, timecode)
                continue
            if connection.refused:
                continue
            number = fragment.info.number
            media = b"".join(fragment.parts)
            # The service stores the fragments of a connection in order, and says so in order.
            at = max(self.now + self.random.randrange(1, 800) * MS, connection.store_at)
            connection.store_at = at
            self.later(
                at - self.now,
                lambda number=number, media=media: self.persist(connection, number, media),  # type: ignore[misc]
            )
        while (ack := session.next_ack()) is not None:
            self.send_ack(connection, ack)
        if session.finished:  # the response ends: all done, an error, or nothing came for long
            self.connections.pop(connection.upload, None)
            at = max(connection.ack_at, self.now) + MS
            self.later(
                at - self.now, lambda: self.stream.upload_ended(connection.upload, 200, self.now)
            )

    def refuse(self, connection: Connection, timecode: int) -> None:
        """The service refuses a fragment: nothing after it counts on this connection."""
        error = self.random.choice(SKIPPING + RETRIED)
        scaled = timecode // MS
        if not self.stream.info.absolute_fragment_times:
            scaled -= connection.session._request.start // MS
        ack = {
            "EventType": "ERROR",
            "FragmentTimecode": scaled,
            "FragmentNumber": "1",
            "ErrorId": error,
        }
        self.send_ack(connection, json.dumps(ack).encode())
        connection.session.stop()

    def persist(self, connection: Connection, number: str, media: bytes) -> None:
        """The fragment is on disk, whether or not anybody still hears of it."""
        self.record(connection, media)
        if connection.alive:
            connection.session.fragment_stored(number, persisted=True)
            while (ack := connection.session.next_ack()) is not None:
                self.send_ack(connection, ack)

    def record(self, connection: Connection, media: bytes) -> None:
        parser = MkvParser()
        parser.receive_data(media)
        parser.receive_eof()
        base = 0
        absolute = self.stream.info.absolute_fragment_times
        while (event := parser.next_event()) is not None:
            if isinstance(event, ClusterStart):
                base = event.timecode
            elif isinstance(event, Block):
                payload = b"".join(bytes(part) for part in event.frames)
                digest = hashlib.sha256(payload).hexdigest()
                time = base + event.relative_timecode
                assert digest in self.accepted, "the service stored what nobody put"
                assert not absolute or time == self.accepted[digest] // MS
                self.stored[digest] = time

    def send_ack(self, connection: Connection, ack: bytes) -> None:
        cut = self.random.randrange(len(ack) + 1)
        delay = self.random.randrange(1, 100) * MS
        at = connection.ack_at = max(self.now + delay, connection.ack_at)
        for part in (ack[:cut], ack[cut:]):
            self.later(
                at - self.now,
                lambda part=part: self.stream.receive_ack(connection.upload, part, self.now),  # type: ignore[misc]
            )

    # --- the invariants -------------------------------------------------------------------------
    def check_always(self) -> None:
        account = self.stream.account()
        assert account.accepted == account.persisted + account.dropped + account.held
        assert min(account) >= 0
        assert account.accepted == len(self.accepted)
        assert account.dropped == self.drop_count
        assert 0 <= self.client.store.used_bytes <= self.client.store.size_bytes

    def check_end(self) -> None:
        account = self.stream.account()
        assert account.held == 0, account
        for digest, pts in self.accepted.items():
            if pts not in self.dropped:
                assert digest in self.stored, f"frame {(pts - START) // MS} of {account} is lost"


MODES = [kvs.StreamingType.REALTIME, kvs.StreamingType.OFFLINE, kvs.StreamingType.NEAR_REALTIME]


@pytest.mark.parametrize("seed", range(30))
def test_every_accepted_frame_is_stored_or_reported(seed: int) -> None:
    """Whatever happens, no accepted frame is silently lost, and everything comes to rest."""
    world = World(seed, MODES[seed % 3])
    world.run(START + STORM + 5 * SECOND, put=True)
    world.stream.stop(world.now)
    world.settle()
    world.run(world.now + PATIENCE, put=False)
    assert world.stream.closed, f"stuck in {world.stream.state}: {world.stream.account()}"
    world.check_end()
    assert world.accepted, "a world without frames shows nothing"
    world.client.close(world.now)
    assert world.client.store.used_bytes == 0
