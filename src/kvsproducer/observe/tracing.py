"""Measure how long each step of a frame takes, as spans of a profiler.

The steps ("hops") are listed in a table of methods and functions. `traced` replaces each of them by
a version that measures its time, and restores the original afterwards, so that tracing costs
nothing while it is off. Only streams that are opened inside the `traced` block are traced. The
spans of a frame are nested: `put_frame` contains `core`, which contains `package`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from kvsproducer import client as core
from kvsproducer.client.buffer.view import ContentView
from kvsproducer.mkv import adaptation
from kvsproducer.mkv.generator import MkvGenerator
from kvsproducer.producer.engine import Engine
from kvsproducer.producer.stream import Stream
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.trace import Profiler

__all__ = ["HOPS", "Hop", "traced"]

Hop = tuple[type | ModuleType, str, str]

HOPS: Final[tuple[Hop, ...]] = (
    # class or module, method or function, name of the span
    (Stream, "put_frame", "put_frame"),  # includes waiting for the lock and for space
    (core.Stream, "put_frame", "core"),
    (adaptation, "annexb_to_avcc", "adapt NAL units"),
    (adaptation, "avcc_to_annexb", "adapt NAL units"),
    (MkvGenerator, "pack", "package"),
    (ContentView, "append", "append to view"),
    (core.Stream, "next_buffers", "read for upload"),
    (Engine, "receive_ack", "acknowledge"),
)


@contextmanager
def traced(profiler: Profiler, more: Iterable[Hop] = ()) -> Iterator[None]:
    """Record a span for each call of a hop (a traced step) until the `with` block ends.

    profiler: a `kvsproducer.trace.Profiler`, which records the spans.
    more: further hops, as (class or module, name of the method, name of the span). For a generator
        function, each item has a span of its own.

    Raises INVALID_ARG if `profiler` is not a Profiler.
    """
    if not isinstance(profiler, Profiler):
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"profiler= is {type(profiler).__name__}: give a kvsproducer.trace.Profiler",
        )
    plain: list[tuple[type | ModuleType, str, Callable[..., object]]] = []
    try:
        for owner, method, name in (*HOPS, *more):
            function = getattr(owner, method)
            plain.append((owner, method, function))
            wrap = _timed_items if inspect.isgeneratorfunction(function) else _timed
            setattr(owner, method, wrap(profiler, name, function))
        yield
    finally:
        for owner, method, function in plain:
            setattr(owner, method, function)


def _timed(profiler: Profiler, name: str, function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def call(*arguments: object, **named: object) -> object:
        with profiler.span(name):
            return function(*arguments, **named)

    return call


def _timed_items(
    profiler: Profiler, name: str, function: Callable[..., Iterator[object]]
) -> Callable[..., Iterator[object]]:
    @functools.wraps(function)
    def items(*arguments: object, **named: object) -> Iterator[object]:
        source = function(*arguments, **named)
        end = object()
        while True:
            with profiler.span(name):
                item = next(source, end)
            if item is end:
                return
            yield item

    return items
