"""The simulated shell's uploads: what `producer/upload.py` does, in simulated time.

An upload reads the core when it is told of data, hands the bytes to the link as long as that takes
them, gives the acks back, and says how it ended. Like the real one it gives up when the peer takes
nothing or answers nothing for long, and bounds the wait for the last ack.
"""

from __future__ import annotations

import re
from typing import Final

from tests.simulation.books import Broken
from tests.simulation.conditions import Conditions
from tests.simulation.link import Direction, Link
from tests.simulation.service import Connection
from tests.simulation.surroundings import Surroundings

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.limits import LOW_SPEED_TIME, PUT_MEDIA_ACK_WAIT_S
from kvsproducer.status import KvsError, StatusCode

__all__ = ["SimulatedUpload"]

_OK: Final = 200
_TIMED_OUT: Final = 599
_UNKNOWN: Final = 10006
_LIMITS: Final = (700, 4096, 65536, 262144)
_LONGEST_ACK: Final = 400  # bytes
_FINAL_ACK: Final = re.compile(
    rb'\{"EventType":"(?P<kind>RECEIVED|PERSISTED)","FragmentTimecode":\d+,'
    rb'"FragmentNumber":"(?P<number>\d+)"\}'
)
_TINY_LIMITS: Final = (1, 2, 17, 100)


class SimulatedUpload:
    """One PutMedia request from `PutStream` to `upload_ended`."""

    def __init__(self, world: Surroundings, stream: core.Stream, call: core.PutStream) -> None:
        self._world = world
        self._stream = stream
        self.call = call
        self.name = call.stream or ""
        self.number = call.upload
        self.over = False
        self.link: Link | None = None
        self.connection: Connection | None = None
        self._body_ended = False
        self._all_sent = False  # but for the last ack nothing is to come
        self._data = True  # the core may have something
        self._sending = False
        self._heard = False
        self._given_up = False
        self._acks = b""  # the last bytes of the response
        self._asked_since: int | None = None
        self._limit = world.dice.choice(_LIMITS)

    # --- the beginning --------------------------------------------------------------------------
    def start(self) -> None:
        """The request leaves."""
        if self.over:
            return
        world = self._world
        world.client.call_result(self.call, _OK, world.clock.now)
        world.clock.later(world.service.conditions.latency, self._arrive)
        world.clock.later(LOW_SPEED_TIME // 2, self._watch)

    def _arrive(self) -> None:
        if self.over:
            return
        world, clock = self._world, self._world.clock
        answer = world.service.open(self.call)
        if isinstance(answer, int):
            world.trace("upload refused", upload=self.number, result=answer)
            if world.service.is_void(self.call):
                world.client.renew_auth(world.clock.now)  # as the shell does
            clock.later(world.service.conditions.latency, lambda: self.end(answer))
            return
        hazards = world.service.conditions
        self.connection = answer
        directions = [
            Direction(
                clock,
                world.dice,
                latency=hazards.latency,
                bytes_per_s=hazards.bytes_per_s,
                receive=receive,
            )
            for receive in (answer.receive, self._receive)
        ]
        up, down = directions
        self.link = Link(
            clock, world.dice, up, down, lost_up=answer.lost, lost_down=self._connection_lost
        )
        answer.say = down.send
        answer.end = lambda result: down.end(lambda: self._response_ended(result))
        answer.hang_up = self.link.cut
        self._pump()

    # --- out ------------------------------------------------------------------------------------
    def wake(self) -> None:
        """The core has data."""
        self._data = True
        if not self._all_sent:
            self._check_others()
        self._pump()

    def _pump(self) -> None:
        """Move bytes from the core to the link, unless that is still busy."""
        world = self._world
        while self._data and not self._body_ended and not self.over and self.link is not None:
            up, now = self.link.up, world.clock.now
            if up.busy_until > now:
                if not self._sending:
                    self._sending = True
                    world.clock.later(up.busy_until - now, self._sent)
                return
            self._read(up)

    def _sent(self) -> None:
        self._sending = False
        self._pump()

    def _read(self, up: Direction) -> None:
        world = self._world
        self._data = False
        limit = self._limit if world.dice.random() < 0.95 else world.dice.choice(_TINY_LIMITS)
        try:
            buffers, status = self._stream.next_buffers(self.number, limit, world.clock.now)
        except KvsError as error:
            if error.status is not StatusCode.UPLOAD_HANDLE_ABORTED:
                raise Broken(f"next_buffers raised {error.status.name}") from error
            self.end(_UNKNOWN)
            return
        data = b"".join(buffers)
        if len(data) > limit:
            raise Broken(f"next_buffers gave {len(data)} bytes, the limit is {limit}")
        world.trace("read", upload=self.number, bytes=len(data), status=status.value)
        if data:
            if self.call.acks and self._asked_since is None:
                self._asked_since = world.clock.now
            up.send(data)
        elif status is core.ReadStatus.MORE:
            raise Broken("next_buffers gave nothing and said MORE")
        self._all_sent = status is core.ReadStatus.AWAITING_PERSISTED_ACK
        if status is core.ReadStatus.END_OF_STREAM:
            self._body_ended = True
            assert self.connection is not None, "it was read from"
            up.end(self.connection.receive_eof)
            wait = PUT_MEDIA_ACK_WAIT_S * TICKS_PER_SECOND
            world.clock.later(wait, lambda: self._close(_OK))
        if status is core.ReadStatus.MORE:
            self._data = True
            self._check_others()

    def _check_others(self) -> None:
        """There is more for this upload: one that began later, and asks, is not given any of it."""
        world = self._world
        for other in world.uploads.values():
            if other.name != self.name or other.number <= self.number or other.link is None:
                continue
            given, _ = self._stream.next_buffers(other.number, self._limit, world.clock.now)
            if given:
                raise Broken(f"upload {other.number} is given media that is {self.number}'s")

    def turn_kind(self) -> None:
        """The link, if it works at all, is a good one from now on."""
        kind = Conditions()
        if self.link is not None:
            for direction in (self.link.up, self.link.down):
                direction.bytes_per_s, direction.latency = kind.bytes_per_s, kind.latency

    # --- in -------------------------------------------------------------------------------------
    def _receive(self, data: bytes) -> None:
        if self.over and self._world.dice.random() < 0.5:
            return  # the other half reaches the core late
        self._heard = True
        world = self._world
        self._asked_since = world.clock.now if self._stream.account().held else None
        world.trace("ack", upload=self.number, data=data)
        at_work = not (self.over or self._given_up)
        self._stream.receive_ack(self.number, data, world.clock.now)
        self._acks = (self._acks + data)[-_LONGEST_ACK:]
        for ack in list(_FINAL_ACK.finditer(self._acks)):
            if at_work and self.connection is not None:
                self.connection.heard(ack["kind"].decode(), ack["number"].decode())
            self._acks = self._acks[ack.end() :] if ack.end() == len(self._acks) else self._acks

    def _response_ended(self, result: int) -> None:
        silent = self.call.acks and not self._heard and not self._body_ended
        self._close(_UNKNOWN if result == _OK and silent else result)

    def _connection_lost(self) -> None:
        self.end(self._world.dice.choice((_UNKNOWN, _UNKNOWN, 500, 504, _TIMED_OUT, _OK, 0)))

    # --- the end --------------------------------------------------------------------------------
    def abort(self) -> None:
        """The core has given it up."""
        self._given_up = True
        world = self._world
        world.clock.later(world.dice.randrange(1_000_000), lambda: self._close(_UNKNOWN))

    def _close(self, result: int) -> None:
        if self.link is not None and not self.over:
            self.link.cut()
        self.end(result)

    def _watch(self) -> None:
        """Give up a peer that takes nothing or answers nothing."""
        if self.over:
            return
        now = self._world.clock.now
        link = self.link
        blocked = link is not None and link.up.busy_until > now + LOW_SPEED_TIME
        unanswered = self._asked_since is not None and self._asked_since < now - LOW_SPEED_TIME
        if blocked or unanswered:
            self._close(_TIMED_OUT)
            return
        self._world.clock.later(LOW_SPEED_TIME // 2, self._watch)

    def end(self, result: int) -> None:
        """Tell the core how it ended, once."""
        if self.over:
            return
        self.over = True
        world = self._world
        world.trace("upload ended", upload=self.number, result=result)
        world.forget(self)
        self._stream.upload_ended(self.number, result, world.clock.now)
