"""Tests of the profiler: the ring, levels, and the output formats."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Callable

import pytest

from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.status import KvsError, StatusCode
from kvsproducer.trace import NO_TRACE, Profiler, TraceLevel


@pytest.fixture
def clock() -> Callable[[], int]:
    """A clock that starts at 1 ms and advances by 1 ms with each call."""
    ticks = 0

    def now() -> int:
        nonlocal ticks
        ticks += TICKS_PER_MS
        return ticks

    return now


@pytest.mark.parametrize("records", [99, 0, -1])
def test_a_ring_needs_100_records(records: int, clock: Callable[[], int]) -> None:
    """Fewer records raise MIN_PROFILER_BUFFER."""
    with pytest.raises(KvsError) as caught:
        Profiler(records, clock=clock)
    assert caught.value.status is StatusCode.MIN_PROFILER_BUFFER


def test_a_span_is_one_record(clock: Callable[[], int]) -> None:
    """Name, thread, start and duration are kept."""
    profiler = Profiler(100, clock=clock)
    with profiler.span("pack", TraceLevel.WARNING):
        assert profiler.records()[0].duration is None
    (record,) = profiler.records()
    assert (record.name, record.level) == ("pack", TraceLevel.WARNING)
    assert (record.start, record.duration) == (TICKS_PER_MS, TICKS_PER_MS)
    assert record.thread_id == threading.get_ident()


def test_a_span_ends_when_its_body_raises(clock: Callable[[], int]) -> None:
    """The exception propagates, and the duration is recorded."""
    profiler = Profiler(100, clock=clock)
    with pytest.raises(ZeroDivisionError), profiler.span("fails"):
        _ = 1 // 0
    assert profiler.records()[0].duration == TICKS_PER_MS


def test_the_ring_overwrites_its_oldest_records(clock: Callable[[], int]) -> None:
    """After 100 + n traces the ring has the last 100, in order."""
    profiler = Profiler(100, clock=clock)
    for number in range(250):
        profiler.stop(profiler.start(f"trace {number}"))
    assert [record.name for record in profiler.records()] == [f"trace {n}" for n in range(150, 250)]


def test_stopping_an_overwritten_or_ended_trace_does_nothing(clock: Callable[[], int]) -> None:
    """A late stop does not change another record."""
    profiler = Profiler(100, clock=clock)
    late = profiler.start("late")
    for _ in range(100):
        profiler.start("running")
    profiler.stop(late)
    assert all(record.duration is None for record in profiler.records())
    last = profiler.start("last")
    profiler.stop(last)
    before = profiler.records()
    profiler.stop(last)
    profiler.stop(NO_TRACE)
    assert profiler.records() == before


def test_traces_below_the_level_are_not_recorded(clock: Callable[[], int]) -> None:
    """The level can change at any time; DISABLED records nothing and does not call the clock."""
    profiler = Profiler(100, clock=clock, level=TraceLevel.WARNING)
    assert profiler.start("info") == NO_TRACE
    with profiler.span("info"):
        pass
    profiler.level = TraceLevel.INFO
    with profiler.span("now"):
        pass
    profiler.level = TraceLevel.DISABLED
    with profiler.span("critical", TraceLevel.CRITICAL):
        pass
    assert [record.name for record in profiler.records()] == ["now"]
    assert clock() == 3 * TICKS_PER_MS


def test_long_names_are_cut(clock: Callable[[], int]) -> None:
    """A name has at most 32 characters."""
    profiler = Profiler(100, clock=clock)
    profiler.start("n" * 33)
    assert profiler.records()[0].name == "n" * 32


def test_csv_has_a_line_per_ended_trace(clock: Callable[[], int]) -> None:
    """It has AWS's columns; without records it is empty; names with commas are quoted."""
    profiler = Profiler(100, clock=clock)
    assert profiler.to_csv() == ""
    profiler.start("still running")
    profiler.stop(profiler.start("put, get"))
    thread = threading.current_thread()
    assert profiler.to_csv() == f'trace,"put, get",{thread.name},{thread.ident},2.0000,1.0000\n'


def test_chrome_trace_has_the_format_of_perfetto(clock: Callable[[], int]) -> None:
    """It has complete events in microseconds, and a name for every thread."""
    profiler = Profiler(100, clock=clock)
    with profiler.span("outer"), profiler.span("inner"):
        pass
    events = json.loads(profiler.to_chrome_trace())["traceEvents"]
    outer, inner, thread = events
    assert (outer["ph"], outer["name"], outer["ts"], outer["dur"]) == ("X", "outer", 1000, 3000)
    assert (inner["name"], inner["ts"], inner["dur"]) == ("inner", 2000, 1000)
    assert (thread["ph"], thread["args"]["name"]) == ("M", threading.current_thread().name)


def test_clear_deletes_all_records(clock: Callable[[], int]) -> None:
    """A trace that runs while the ring is cleared is not recorded either."""
    profiler = Profiler(100, clock=clock)
    running = profiler.start("running")
    profiler.clear()
    profiler.stop(running)
    assert profiler.records() == []


def test_threads_share_a_profiler(clock: Callable[[], int]) -> None:
    """No record of any thread is lost while the ring has space."""
    profiler = Profiler(1000, clock=clock)

    def work() -> None:
        for _ in range(100):
            with profiler.span("work"):
                pass

    threads = [threading.Thread(target=work, name=f"worker {n}") for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [record.thread_name for record in profiler.records() if record.duration is not None]
    assert sorted(names) == sorted(thread.name for thread in threads for _ in range(100))


def test_a_decorated_function_is_traced(clock: Callable[[], int]) -> None:
    """Functions and coroutine functions keep their results; DISABLED records nothing."""
    profiler = Profiler(100, clock=clock)

    @profiler.traced()
    def double(number: int) -> int:
        return 2 * number

    @profiler.traced("waits")
    async def wait(number: int) -> int:
        await asyncio.sleep(0)
        return double(number)

    assert (double(2), double.__name__) == (4, "double")
    assert inspect.iscoroutinefunction(wait)
    assert asyncio.run(wait(3)) == 6
    assert [record.name for record in profiler.records()] == ["double", "waits", "double"]
    assert profiler.records()[1].duration == 3 * TICKS_PER_MS
    profiler.level = TraceLevel.DISABLED
    assert double(4) == 8
    assert len(profiler.records()) == 3


def test_the_report_adds_up_by_name(clock: Callable[[], int]) -> None:
    """The largest total comes first; running traces are left out."""
    profiler = Profiler(100, clock=clock)
    for _ in range(3):
        with profiler.span("short"):
            pass
    with profiler.span("long"):
        for _ in range(5):
            clock()
    profiler.start("running")
    head, *rows = (line.split() for line in profiler.report().splitlines())
    assert head == ["name", "count", "total", "mean", "max"]
    assert rows == [
        ["long", "1", "6.000", "6.0000", "6.0000"],
        ["short", "3", "3.000", "1.0000", "1.0000"],
    ]
