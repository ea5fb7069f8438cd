"""A network link in simulated time: latency, bandwidth, stalls, silence, and cuts at any byte.

A `Link` has two directions, `up` (the producer's bytes) and `down` (the service's). Bytes arrive
in order, in pieces of any size. `cut` ends both: what is on its way is lost from some byte on, and
each end is told a while later, not at the same time. A `mute` link looks alive and carries nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.simulation.clock import SimulatedClock

__all__ = ["Direction", "Link"]


class Direction:
    """One direction; `receive` is called with each piece that arrives."""

    def __init__(
        self,
        clock: SimulatedClock,
        dice: random.Random,
        *,
        latency: int,
        bytes_per_s: int,
        receive: Callable[[bytes], None],
    ) -> None:
        self._clock = clock
        self._dice = dice
        self.latency = latency
        self.bytes_per_s = bytes_per_s
        self._receive = receive
        self._free_at = clock.now  # when the last byte so far has left
        self._arrival = clock.now  # of the last byte so far
        self.mute = False
        self.cut_after: int | None = None  # how many more bytes still arrive
        self.on_cut: Callable[[], None] = lambda: None

    @property
    def busy_until(self) -> int:
        """When everything sent so far has left."""
        return self._free_at

    def stall(self, ticks: int) -> None:
        """Nothing leaves for so long."""
        self._free_at = max(self._free_at, self._clock.now) + ticks

    def send(self, data: bytes) -> None:
        """Put bytes on their way."""
        clock = self._clock
        self._free_at = max(self._free_at, clock.now) + len(data) * 10_000_000 // self.bytes_per_s
        jitter = self._dice.randrange(self.latency + 1)
        self._arrival = max(self._arrival, self._free_at + self.latency + jitter)
        for piece in self._pieces(data):
            clock.later(self._arrival - clock.now, lambda piece=piece: self._arrive(piece))  # type: ignore[misc]

    def end(self, action: Callable[[], None]) -> None:
        """Have something happen once all that was sent has arrived."""
        self._arrival = max(self._arrival, self._clock.now)
        self._clock.later(
            self._arrival - self._clock.now,
            lambda: None if self.mute or self.cut_after == 0 else action(),
        )

    def _pieces(self, data: bytes) -> list[bytes]:
        """Split at random: mostly not at all, sometimes in two, sometimes byte by byte."""
        kind = self._dice.random()
        if kind < 0.7 or len(data) < 2:
            return [data]
        if kind < 0.98 or len(data) > 200:
            at = self._dice.randrange(1, len(data))
            return [data[:at], data[at:]]
        return [data[index : index + 1] for index in range(len(data))]

    def _arrive(self, piece: bytes) -> None:
        if self.mute:
            return
        if self.cut_after is not None:
            whole = len(piece) <= self.cut_after
            piece = piece[: self.cut_after]
            self.cut_after -= len(piece)
            if piece:
                self._receive(piece)
            if not whole:
                self.cut_after = 0
                told, self.on_cut = self.on_cut, lambda: None
                told()
            return
        self._receive(piece)


class Link:
    """Both directions of one connection. `lost_up` tells the service's end, `lost_down` ours."""

    def __init__(
        self,
        clock: SimulatedClock,
        dice: random.Random,
        up: Direction,
        down: Direction,
        *,
        lost_up: Callable[[], None],
        lost_down: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._dice = dice
        self.up = up
        self.down = down
        self._lost_up = lost_up
        self._lost_down = lost_down
        self._cut = False
        up.on_cut = down.on_cut = self.cut

    def cut(self) -> None:
        """Break the connection now: nothing more arrives, and both ends get to know."""
        if self._cut:
            return
        self._cut = True
        self.up.cut_after = self.down.cut_after = 0
        for told in (self._lost_up, self._lost_down):
            self._clock.later(self._dice.randrange(5_000_000), told)

    def cut_at(self, byte: int, *, upwards: bool) -> None:
        """Break it once `byte` more bytes have arrived in one direction."""
        direction = self.up if upwards else self.down
        if direction.cut_after is None:
            direction.cut_after = byte

    def silence(self) -> None:
        """From now on nothing arrives anywhere, and nobody is told: half-open."""
        self.up.mute = self.down.mute = True
