"""The service of a simulated world: control plane, PutMedia, and what it has really stored.

PutMedia is the local endpoint's own core; around it stand the hazards of `Conditions`: calls that
fail, are late or never answered, refused uploads, made-up ERROR acks, acks that are lost, repeated
or garbled, a slow or failing archive, restarts. What is stored is parsed again and handed to
`record`, block by block. It never says that it has stored what it has not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Final

from tests.simulation.books import Books
from tests.simulation.clock import SimulatedClock
from tests.simulation.conditions import FATAL_RESULTS, PASSING_RESULTS, Conditions

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.fragment import Fragment, FragmentNumbers
from kvsproducer.endpoint.put_media import PutMediaRequest, PutMediaSession
from kvsproducer.limits import CLOCK_SKEW_NOTICED
from kvsproducer.wire import ACK_ERRORS, ack_error

__all__ = ["Connection", "Service"]

_OK: Final = 200
_TIMED_OUT: Final = 599
_UNAUTHORIZED: Final = (401, 403)
_FOR_CREDENTIALS: Final = (core.GetSecurityToken, core.GetStreamingToken)
_GARBAGE: Final = (
    b"\r\n",
    b"{}",
    b'{"EventType":"NOISE","FragmentTimecode":1,"FragmentNumber":"1"}',
    b'{"EventType":"PERSISTED","FragmentTimecode":900000000000,"FragmentNumber":"1"}',
    b'{"EventType":"RECEIVED","FragmentTimecode":"many"}',
    b'{"EventType":"IDLE"}\n',
    b'{"EventType":"BUFFERING","EventType":"BUFFERING"}',
    b'"}{[',
    b'{"nested":{"a":["}"]},"EventType":"IDLE"}',
)


class Service:
    """All streams of one account. `record(stream, connection, fragment)` is told what is stored."""

    def __init__(
        self,
        clock: SimulatedClock,
        dice: random.Random,
        *,
        token_life: int,
        created: bool,
        retention: Mapping[str, int],
        record: Callable[[str, Connection, Fragment], None],
        refused: Callable[[Connection], None],
        trace: Callable[..., None],
    ) -> None:
        self.clock = clock
        self.dice = dice
        self.conditions = Conditions()
        self.record = record
        self.refused = refused  # the endpoint's core has refused what it got
        self.retention = retention  # of each stream, ticks; 0: it keeps nothing
        self.trace = trace
        self.connections: list[Connection] = []
        self.epoch = 0  # restarts so far
        self.faults: dict[str, int] = {}
        self._void_until = 0  # credentials that were given before are refused
        self._given: dict[int, int] = {}  # credentials -> when they were given
        self._token_life = token_life
        self._created: dict[str, int] = (
            dict.fromkeys(retention, 0) if created else {}
        )  # stream -> when it is active
        self._numbers: dict[str, FragmentNumbers] = {}

    def chance(self, probability: float, fault: str) -> bool:
        """Roll for a hazard and count it."""
        if probability <= 0 or self.dice.random() >= probability:
            return False
        self.count(fault)
        return True

    def count(self, fault: str) -> None:
        """Count something that went wrong."""
        self.faults[fault] = self.faults.get(fault, 0) + 1

    # --- control plane --------------------------------------------------------------------------
    def answer(self, call: core.Call) -> tuple[int, int, object]:
        """How a call goes: (ticks until its result, the result, the answer)."""
        hazards, dice = self.conditions, self.dice
        delay = hazards.latency * 2 + dice.randrange(50 * TICKS_PER_MS)
        if self.chance(hazards.unanswered_calls, "unanswered call"):
            return call.timeout, _TIMED_OUT, None
        if self.chance(hazards.slow_calls, "slow call"):
            delay = dice.randrange(call.timeout)
        if self.chance(hazards.fatal_calls, "fatal call"):
            return delay, dice.choice(FATAL_RESULTS), None
        if self.chance(hazards.failed_calls, "failed call"):
            return delay, dice.choice(PASSING_RESULTS), None
        if self.is_void(call):
            return delay, dice.choice(_UNAUTHORIZED), None
        return delay, *self._good_answer(call)

    def _good_answer(self, call: core.Call) -> tuple[int, object]:
        now = self.clock.now
        if isinstance(call, _FOR_CREDENTIALS):
            return _OK, self._token()
        if isinstance(call, core.CreateDevice):
            return _OK, "device"
        if isinstance(call, core.GetStreamingEndpoint):
            return _OK, "https://data"
        if isinstance(call, core.DescribeStream):
            return self._describe(call.stream or "")
        if isinstance(call, core.CreateStream):
            self._created.setdefault(call.stream or "", now + 2 * TICKS_PER_SECOND)
            return _OK, f"arn:{call.stream}"
        return _OK, None

    def _token(self) -> core.AuthInfo:
        now, life = self.clock.now, self._token_life
        if self.chance(self.conditions.short_tokens, "short token"):
            life = self.dice.randrange(30) * TICKS_PER_SECOND
        # The shell notices a clock that is far off, and tells the core the device's time.
        skew = self.clock.offset if abs(self.clock.offset) >= CLOCK_SKEW_NOTICED else 0
        self._given[now + life] = now
        return core.AuthInfo(data=now + life, expiration=now + life + skew)

    def void_credentials(self) -> None:
        """Refuse the credentials that were given so far, and those of the next seconds."""
        self._void_until = self.clock.now + self.dice.randrange(20 * TICKS_PER_SECOND)

    def accept_credentials(self) -> None:
        """Refuse no credentials that are given from now on."""
        self._void_until = min(self._void_until, self.clock.now)

    def is_void(self, call: core.Call) -> bool:
        """Whether a call has credentials that are refused; calls for new ones are not."""
        if isinstance(call, _FOR_CREDENTIALS):
            return False
        if not self._void_until or call.auth is None or not isinstance(call.auth.data, int):
            return False
        return self._given.get(call.auth.data, 0) < self._void_until

    def _describe(self, name: str) -> tuple[int, object]:
        active_at = self._created.get(name)
        if active_at is None:
            return 404, None
        active = active_at <= self.clock.now
        status = core.StreamStatus.ACTIVE if active else core.StreamStatus.CREATING
        return _OK, core.StreamDescription(
            f"arn:{name}", status=status, retention=self.retention[name]
        )

    # --- PutMedia -------------------------------------------------------------------------------
    def open(self, call: core.PutStream) -> Connection | int:
        """A PutMedia request has arrived: a connection, or the HTTP status of a refusal."""
        expires = call.auth.data if call.auth is not None else None
        assert isinstance(expires, int), "the service gave that token"
        if expires <= self.clock.now:
            self.count("expired token")
            return 403
        if self.is_void(call):
            return self.dice.choice(_UNAUTHORIZED)
        if self.chance(self.conditions.refused_uploads, "refused upload"):
            return self.dice.choice((*PASSING_RESULTS[:-1], *FATAL_RESULTS))
        name = call.stream or ""
        numbers = self._numbers.setdefault(name, FragmentNumbers())
        connection = Connection(self, name, call, numbers, expires)
        self.connections.append(connection)
        return connection

    def restart(self) -> None:
        """The service's process ends and begins again: connections break, memory is lost."""
        self.epoch += 1
        for connection in list(self.connections):
            connection.broken = True
            connection.lost()
            connection.hang_up()

    @staticmethod
    def error_ack(error_id: int, timecode: int | None) -> bytes:
        """An ERROR ack as the service words it."""
        members: dict[str, object] = {"EventType": "ERROR"}
        if timecode is not None:
            members["FragmentTimecode"] = timecode
        members |= {
            "FragmentNumber": "1",
            "ErrorCode": ack_error(error_id).name,
            "ErrorId": error_id,
        }
        return json.dumps(members, separators=(",", ":")).encode() + b"\n"


class Connection:
    """The service's end of one PutMedia request. `say`, `end` and `hang_up` reach the peer."""

    def __init__(
        self,
        service: Service,
        name: str,
        call: core.PutStream,
        numbers: FragmentNumbers,
        expires: int,
    ) -> None:
        self.service = service
        self.name = name
        self.upload = call.upload
        self.absolute = call.absolute_timecodes
        self.expires = expires
        self.broken = False
        self.say: Callable[[bytes], None] = lambda _data: None
        self.end: Callable[[int], None] = lambda _result: None  # the response ends
        self.hang_up: Callable[[], None] = lambda: None
        self.opened = service.clock.now
        # Fragment number -> the books and numbers of the frames that were stored with it.
        self.stored: dict[str, list[tuple[Books, int]]] = {}
        self.order: dict[int, int] = {}  # track -> the newest frame of the session
        self.offset: int | None = None  # of the session's relative timecodes
        self._epoch = service.epoch
        self._timecodes: list[int] = []  # of the fragments begun, as on the wire
        self._store_at = 0
        self._said_end = False
        self._timer: int | None = None
        request = PutMediaRequest(call.absolute_timecodes, call.start_timestamp, call.acks)
        self.session = PutMediaSession(request, numbers, service.clock.now, EndpointLimits())
        self._acks = call.acks
        self.settle()

    # --- in -------------------------------------------------------------------------------------
    def receive(self, data: bytes) -> None:
        """Bytes of the body."""
        self.session.receive_data(data, self.service.clock.now)
        self.settle()

    def receive_eof(self) -> None:
        """The body is complete."""
        self.session.receive_eof(self.service.clock.now)
        self.settle()

    def lost(self) -> None:
        """The peer is gone, as far as the service knows."""
        self.session.connection_lost()
        self._forget()

    def _forget(self) -> None:
        if self in self.service.connections:
            self.service.connections.remove(self)

    # --- what the service does ------------------------------------------------------------------
    def settle(self) -> None:
        """Store fragments, say acks, end the response when all is done."""
        session = self.session
        if session.refusal:
            self.service.refused(self)
        while (fragment := session.next_fragment()) is not None:
            self._take(fragment)
        while (ack := session.next_ack()) is not None:
            self._acknowledge(ack)
        if session.finished and not self._said_end:
            self._said_end = True
            self._forget()
            self.end(_OK)
        self._arm()

    def _take(self, fragment: Fragment) -> None:
        service = self.service
        number = fragment.info.number
        if not service.retention[self.name]:
            service.record(self.name, self, fragment)
        if service.chance(service.conditions.archive_failures, "archive failure"):
            self.session.fragment_failed(number)
            return
        clock = service.clock
        wait = service.dice.randrange(service.conditions.slow_store + 1)
        self._store_at = max(clock.now + wait, self._store_at)  # in order, as the service does
        clock.later(self._store_at - clock.now, lambda: self._store(fragment))

    def _store(self, fragment: Fragment) -> None:
        if self._epoch != self.service.epoch:
            return  # it was lost with the process
        retained = bool(self.service.retention[self.name])
        if retained:
            self.service.record(self.name, self, fragment)
        self.session.fragment_stored(fragment.info.number, persisted=retained)
        self.settle()

    def _acknowledge(self, ack: bytes) -> None:
        service, hazards = self.service, self.service.conditions
        if b'"BUFFERING"' in ack:
            self._timecodes.append(json.loads(ack)["FragmentTimecode"])
        if service.chance(hazards.lost_acks, "lost ack"):
            return
        if service.chance(hazards.garbage_acks, "garbage ack"):
            ack = service.dice.choice(_GARBAGE) + ack
        self.say(ack)
        if service.chance(hazards.repeated_acks, "repeated ack"):
            wait = service.dice.choice((0, 0, service.dice.randrange(5 * TICKS_PER_SECOND)))
            service.clock.later(wait, lambda: self.say(ack))

    def refuse(self) -> None:
        """Say a made-up ERROR and take nothing more."""
        dice = self.service.dice
        if not self.session.receiving or not self._acks:
            return
        error_id = dice.choice(sorted(ACK_ERRORS))
        timecode: int | None = dice.choice((None, -1))
        if self._timecodes and dice.random() < 0.85:
            timecode = self._timecodes[-1] if dice.random() < 0.8 else dice.choice(self._timecodes)
        self.service.trace("service refuses", upload=self.upload, error=error_id, timecode=timecode)
        self.session.stop()
        self.say(Service.error_ack(error_id, timecode))
        self.settle()

    def heard(self, kind: str, number: str) -> None:
        """An ack for a fragment has reached the core, whose upload was still at work."""
        if kind == "PERSISTED" or not self.service.retention[self.name]:
            for books, frame in self.stored.get(number, ()):
                books.note_settled(frame, self.service.clock.now)

    def finish(self, result: int) -> None:
        """End the response, whatever is under way."""
        if not self._said_end:
            self._said_end = True
            self.session.stop()
            self._forget()
            self.end(result)

    # --- time -----------------------------------------------------------------------------------
    def _arm(self) -> None:
        timer = self.session.next_timer()
        if timer is not None and (self._timer is None or timer < self._timer):
            self._timer = timer
            clock = self.service.clock
            clock.later(timer - clock.now, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now, timer = self.service.clock.now, self.session.next_timer()
        if timer is not None and timer <= now:
            self.session.handle_timer(now)
        self.settle()
