"""A profiler that records how long named pieces of work take, in a ring buffer of fixed size.

As in AWS's Trace library, traces have levels, new records overwrite the oldest, and the output is
comma-separated text. This module can also print a table, and write the trace event format for
chrome://tracing and Perfetto. The caller passes a clock function, which returns ticks of 100 ns and
should be monotonic.

    profiler = Profiler(clock=lambda: time.monotonic_ns() // 100)
    with profiler.span("pack"):
        ...
    @profiler.traced("send")
    def send(packet): ...
    print(profiler.report())

Several threads may use a profiler. If its level is DISABLED, a span costs only one comparison.
docs/how-to/trace.md has measurements.
"""

from __future__ import annotations

import csv
import functools
import inspect
import io
import itertools
import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum
from types import TracebackType
from typing import Final, NamedTuple, ParamSpec, TypeVar, cast

from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_US
from kvsproducer.limits import MAX_TRACE_NAME_LEN, MIN_TRACE_RECORDS
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["NO_TRACE", "Profiler", "TraceLevel", "TraceRecord"]

P = ParamSpec("P")
T = TypeVar("T")

NO_TRACE: Final = -1
"""The handle that `Profiler.start` returns for a trace that is not recorded."""


class TraceLevel(IntEnum):
    """The importance of a trace. A profiler ignores traces below its own level."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2
    DISABLED = 3  # as the level of a profiler: record nothing


class TraceRecord(NamedTuple):
    """One trace. `start` and `duration` are in ticks; `duration` is None until the trace ends."""

    handle: int
    name: str
    thread_name: str
    thread_id: int
    level: TraceLevel
    start: int
    duration: int | None


_NO_SPAN: Final = nullcontext()


class Profiler:
    """Record traces in a ring buffer of at least 100 records."""

    def __init__(
        self,
        records: int = 10_000,
        *,
        clock: Callable[[], int],
        level: TraceLevel = TraceLevel.INFO,
    ) -> None:
        """Create a ring buffer of `records` records. `clock` returns ticks of 100 ns.

        Raises MIN_PROFILER_BUFFER if `records` is less than 100.
        """
        if records < MIN_TRACE_RECORDS:
            raise kvs_error(
                StatusCode.MIN_PROFILER_BUFFER,
                f"records is {records}: give at least {MIN_TRACE_RECORDS}",
            )
        self.level = level
        self._clock = clock
        self._ring: list[TraceRecord | None] = [None] * records
        self._handles = itertools.count()  # next() is atomic, so no lock is needed

    def start(self, name: str, level: TraceLevel = TraceLevel.INFO) -> int:
        """Start a trace and return its handle.

        Returns NO_TRACE, and records nothing, if `level` is below the profiler's level. `name` is
        cut to 32 characters.
        """
        if level < self.level:
            return NO_TRACE
        thread = threading.current_thread()
        handle = next(self._handles)
        self._ring[handle % len(self._ring)] = TraceRecord(
            handle,
            name[:MAX_TRACE_NAME_LEN],
            thread.name,
            thread.ident or 0,
            level,
            self._clock(),
            None,
        )
        return handle

    def stop(self, handle: int) -> None:
        """End a trace. Do nothing for NO_TRACE, or if the trace's record was overwritten."""
        if handle == NO_TRACE:
            return
        slot = handle % len(self._ring)
        record = self._ring[slot]
        if record is not None and record.handle == handle and record.duration is None:
            self._ring[slot] = record._replace(duration=self._clock() - record.start)

    def span(
        self, name: str, level: TraceLevel = TraceLevel.INFO
    ) -> AbstractContextManager[object]:
        """Return a context manager that starts a trace on entry and ends it on exit."""
        return _NO_SPAN if level < self.level else _Span(self, name, level)

    def traced(
        self, name: str = "", level: TraceLevel = TraceLevel.INFO
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Return a decorator that traces each call. `name` defaults to the function's name.

        For a coroutine function, the trace ends when the coroutine ends, so it includes waiting
        time.
        """

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            title = name or getattr(function, "__name__", "call")
            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def work(*arguments: P.args, **named: P.kwargs) -> object:
                    with self.span(title, level):
                        return await function(*arguments, **named)

                return cast("Callable[P, T]", work)

            @functools.wraps(function)
            def call(*arguments: P.args, **named: P.kwargs) -> T:
                with self.span(title, level):
                    return function(*arguments, **named)

            return call

        return decorate

    def records(self) -> list[TraceRecord]:
        """Return all records in the ring buffer, oldest first. Running traces are included."""
        return sorted(record for record in self._ring if record is not None)

    def clear(self) -> None:
        """Delete all records, including those of running traces."""
        self._ring[:] = [None] * len(self._ring)

    def report(self) -> str:
        """Return a table with one row for each name: count, and total, mean and maximum in ms.

        Only ended traces count. The name with the largest total comes first.
        """
        durations: dict[str, list[int]] = {}
        for record in self.records():
            if record.duration is not None:
                durations.setdefault(record.name, []).append(record.duration)
        lines = [
            f"{'name':<{MAX_TRACE_NAME_LEN}} {'count':>8} {'total':>10} {'mean':>9} {'max':>9}"
        ]
        for name, found in sorted(durations.items(), key=lambda item: -sum(item[1])):
            total, mean, most = (
                ticks / TICKS_PER_MS for ticks in (sum(found), sum(found) / len(found), max(found))
            )
            lines.append(
                f"{name:<{MAX_TRACE_NAME_LEN}} {len(found):>8} {total:>10.3f} {mean:>9.4f}"
                f" {most:>9.4f}"
            )
        return "\n".join(lines)

    def to_csv(self) -> str:
        """Return CSV lines `trace,name,thread name,thread id,start ms,duration ms`.

        There is one line for each ended trace.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for record in self.records():
            if record.duration is not None:
                start_ms = f"{record.start / TICKS_PER_MS:.4f}"
                duration_ms = f"{record.duration / TICKS_PER_MS:.4f}"
                thread = (record.thread_name, record.thread_id)
                writer.writerow(("trace", record.name, *thread, start_ms, duration_ms))
        return out.getvalue()

    def to_chrome_trace(self) -> str:
        """Return JSON in the trace event format, with one "complete" event for each ended trace."""
        events: list[dict[str, object]] = [
            {
                "ph": "X",
                "name": record.name,
                "cat": record.level.name.lower(),
                "pid": 0,
                "tid": record.thread_id,
                "ts": record.start / TICKS_PER_US,
                "dur": record.duration / TICKS_PER_US,
            }
            for record in self.records()
            if record.duration is not None
        ]
        threads = {record.thread_id: record.thread_name for record in self.records()}
        events += [
            {"ph": "M", "name": "thread_name", "pid": 0, "tid": ident, "args": {"name": name}}
            for ident, name in threads.items()
        ]
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})


class _Span:
    __slots__ = ("_handle", "_level", "_name", "_profiler")

    def __init__(self, profiler: Profiler, name: str, level: TraceLevel) -> None:
        self._profiler = profiler
        self._name = name
        self._level = level
        self._handle = NO_TRACE

    def __enter__(self) -> None:
        self._handle = self._profiler.start(self._name, self._level)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._profiler.stop(self._handle)
