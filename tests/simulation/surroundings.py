"""What a writer and an upload know of the simulated world that they are in."""

from __future__ import annotations

import random
from typing import Any, Protocol

from tests.simulation.books import Books
from tests.simulation.clock import SimulatedClock
from tests.simulation.conditions import Plan
from tests.simulation.service import Service

from kvsproducer import client as core

__all__ = ["Surroundings"]


class Surroundings(Protocol):
    """The world: its clock, dice, plan and service, and the one client that it is about."""

    dice: random.Random
    source_dice: random.Random
    plan: Plan
    clock: SimulatedClock
    service: Service
    client: core.Client
    books: list[Books]  # of every stream that was opened
    uploads: dict[int, Any]  # `SimulatedUpload`, by their numbers
    stormy: bool  # things go wrong now
    deaf: bool  # the application takes no events

    def trace(self, what: str, **details: object) -> None:
        """Print what happens, if somebody wants to see it."""

    def settle(self) -> None:
        """Carry out what the core asks for, take what it tells, check what must always hold."""

    def hear(self) -> None:
        """Take the core's events."""

    def forget(self, upload: Any) -> None:
        """An upload is over."""
