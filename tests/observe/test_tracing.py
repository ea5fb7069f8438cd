"""Tracing restores the methods, also after an exception."""

from __future__ import annotations

import pytest

from kvsproducer import traced
from kvsproducer.observe.tracing import HOPS
from kvsproducer.status import KvsError
from kvsproducer.trace import Profiler


def ticking() -> Profiler:
    ticks = iter(range(1_000_000))
    return Profiler(100, clock=lambda: next(ticks))


def test_methods_are_restored_when_the_block_fails() -> None:
    """They are the same function objects."""
    plain = [getattr(owner, method) for owner, method, _ in HOPS]
    with pytest.raises(KeyError), traced(ticking()):
        assert [getattr(owner, method) for owner, method, _ in HOPS] != plain
        raise KeyError
    assert [getattr(owner, method) for owner, method, _ in HOPS] == plain


class Camera:
    """A class with a method and an iterator to trace."""

    def frames(self, count: int) -> object:
        yield from range(count)

    def look(self, *, where: str) -> str:
        return where.upper()


def test_calls_and_items_are_spans() -> None:
    """A call has one span; an iterator one for each item and one for its end."""
    profiler = ticking()
    with traced(profiler, [(Camera, "frames", "frame"), (Camera, "look", "look")]):
        camera = Camera()
        assert list(camera.frames(3)) == [0, 1, 2]  # type: ignore[call-overload]
        assert camera.look(where="there") == "THERE"
    names = [record.name for record in profiler.records()]
    assert names == ["frame"] * 4 + ["look"]
    assert all(record.duration is not None for record in profiler.records())


def test_a_profiler_of_another_type_is_refused() -> None:
    with pytest.raises(KvsError, match="profiler= is int"), traced(3):  # type: ignore[arg-type]
        pass
