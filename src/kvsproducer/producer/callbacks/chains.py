"""The chains of a provider at work: who is called when, in which thread, and what it may decide.

| chain | when | thread | a failure |
|---|---|---|---|
| pressures, data available | in `put_frame`, after the lock | the caller's | fails `put_frame` |
| other events | once the event is there | the dispatcher's | ends the chain, is logged |
| auth, API | before a service call | one of its own | is the call's result |

Entries are called in order. STOP_CALLBACK_CHAIN, returned or raised, ends a chain with success; any
other failure ends it and is its result; what is raised and is no `KvsError` is INTERNAL_ERROR.
Source: the callbacks provider of AWS's C producer. There the last of several answers counts, for
each overwrites the one before; here an answer ends the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final

from kvsproducer import client as core
from kvsproducer.client.events import EventQueue
from kvsproducer.limits import MAX_QUEUED_EVENTS
from kvsproducer.producer.callbacks.platform import LogPrint
from kvsproducer.producer.callbacks.provider import CallbacksProvider, Numbered
from kvsproducer.producer.callbacks.structures import (
    ApiCallbacks,
    AuthCallbacks,
    CallbackSet,
    ClientShutdown,
    PlatformCallbacks,
    ProducerCallbacks,
    StreamCallbacks,
    StreamDataAvailable,
)
from kvsproducer.producer.credentials import AwsCredentials
from kvsproducer.producer.logger import logger
from kvsproducer.producer.logs import attached, log_level
from kvsproducer.producer.urls import shown, url_fault
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["Chains", "Report"]

_S = StatusCode
log = logger("kvsproducer.callbacks")

Report = core.Event | StreamDataAvailable | ClientShutdown
_Place = tuple[type[CallbackSet], str]

# What an entry is told: the record's class -> chain and function.
_TOLD: Final[dict[type[Report], _Place]] = {
    core.StoragePressure: (ProducerCallbacks, "storage_overflow_pressure"),
    core.ClientReady: (ProducerCallbacks, "client_ready"),
    ClientShutdown: (ProducerCallbacks, "client_shutdown"),
    core.BufferDurationPressure: (StreamCallbacks, "buffer_duration_overflow_pressure"),
    core.StreamLatencyPressure: (StreamCallbacks, "stream_latency_pressure"),
    StreamDataAvailable: (StreamCallbacks, "stream_data_available"),
    core.ConnectionStale: (StreamCallbacks, "stream_connection_stale"),
    core.FrameDropped: (StreamCallbacks, "dropped_frame_report"),
    core.FragmentDropped: (StreamCallbacks, "dropped_fragment_report"),
    core.StreamErrorReported: (StreamCallbacks, "stream_error_report"),
    core.FragmentAcked: (StreamCallbacks, "fragment_ack_received"),
    core.StreamReady: (StreamCallbacks, "stream_ready"),
    core.StreamClosed: (StreamCallbacks, "stream_closed"),
    core.StreamShutdown: (StreamCallbacks, "stream_shutdown"),
}
# Those of them that can fail a `put_frame`, besides StreamDataAvailable.
_PRESSURES: Final[tuple[type[core.Event], ...]] = (
    core.StoragePressure,
    core.BufferDurationPressure,
    core.StreamLatencyPressure,
)
# What an entry is asked: the call's class -> chain, function, and the types of its answer.
_ASKED: Final[dict[type[core.Call], tuple[_Place, tuple[type, ...]]]] = {
    core.GetSecurityToken: ((AuthCallbacks, "get_security_token"), (AwsCredentials,)),
    core.GetStreamingToken: ((AuthCallbacks, "get_streaming_token"), (AwsCredentials,)),
    core.CreateStream: ((ApiCallbacks, "create_stream"), (str,)),
    core.DescribeStream: ((ApiCallbacks, "describe_stream"), (core.StreamDescription,)),
    core.GetStreamingEndpoint: ((ApiCallbacks, "get_streaming_endpoint"), (str,)),
    core.TagStream: ((ApiCallbacks, "tag_resource"), (StatusCode,)),
    core.PutStream: ((ApiCallbacks, "put_stream"), ()),
}
# A listener that fails when something is ready is logged under the status that AWS has for it.
_READY_FAILURES: Final[dict[type[Report], StatusCode]] = {
    core.ClientReady: _S.CLIENT_READY_CALLBACK_FAILED,
    core.StreamReady: _S.STREAM_READY_CALLBACK_FAILED,
}


class Chains:
    """What one producer does with its provider's chains.

    `level` is the `ClientInfo.log_level` for `log_print`. Raises INVALID_OPERATION when the
    provider serves another producer.
    """

    def __init__(self, provider: CallbacksProvider, level: int) -> None:
        provider.take()
        self._provider = provider
        self._look_at_put_frame()
        self._log = ExitStack()
        if provider.platform.log_print is not None:
            print_lines = LogPrint(provider.platform.log_print, log_level(level))
            self._log.enter_context(attached(print_lines))
        self._reported = EventQueue(MAX_QUEUED_EVENTS)

    @property
    def platform(self) -> PlatformCallbacks:
        """The platform's functions."""
        return self._provider.platform

    # --- inside put_frame -----------------------------------------------------------------------
    def reports(self, stream: core.Stream, now: int) -> list[Report]:
        """What a `put_frame` that has just been made has to report; call it under the lock.

        The events among them go on to listeners, by `next_reported`.
        """
        if self._known != self._provider.additions:
            self._look_at_put_frame()
        found: list[Report] = []
        if self._pressures:
            for event in stream.take_events(self._pressures):
                self._reported.push(event)
                found.append(event)
        if self._data_available:
            waiting = stream.metrics(now)
            duration, size = waiting.current_view_duration, waiting.current_view_size
            if size:
                found.append(StreamDataAvailable(stream.name, duration, size))
        return found

    def _look_at_put_frame(self) -> None:
        """Which entries a `put_frame` is for; they are few, and frames are many."""
        self._known = self._provider.additions
        self._pressures = tuple(kind for kind in _PRESSURES if self._functions(_TOLD[kind]))
        self._data_available = bool(self._functions(_TOLD[StreamDataAvailable]))

    def next_reported(self) -> core.Event | None:
        """The next event whose chain `report` runs; call it under the lock."""
        return self._reported.pop()

    def report(self, reports: Sequence[Report]) -> None:
        """Run the chains of these; raises what the first one fails with. Not under the lock.

        The frame was accepted all the same, and its error says so.
        """
        for report in reports:
            try:
                self._run(_TOLD[type(report)], report)
            except KvsError as error:
                raise kvs_error(
                    error.status, f"{error.detail}; the frame was accepted", stream=report.stream
                ) from error.__cause__

    # --- afterwards -----------------------------------------------------------------------------
    def tell(self, report: Report) -> None:
        """Run the chain of an event that nobody waits for; a failure is logged."""
        place = _TOLD.get(type(report))
        if place is None:
            return
        try:
            self._run(place, report)
        except KvsError as error:
            status = _READY_FAILURES.get(type(report), error.status)
            log.warning("%s: %s", status.name, error.detail, exc_info=error.__cause__)
        except SystemExit:  # the thread that tells is not a callback's to end
            log.exception("a callback raised while it was told %s", report)

    def end(self) -> None:
        """The producer is closed: tell, and free the provider's sets."""
        self.tell(ClientShutdown())
        self._log.close()
        self._provider.free()

    # --- before a call --------------------------------------------------------------------------
    def asks(self, call: core.Call) -> bool:
        """Whether an entry is to be asked about this call."""
        return any(self._functions(place) for place, _ in _questions(call))

    def ask(self, call: core.Call) -> object:
        """The first entry's answer to a call, None when it is to be made; may block.

        Raises what the chain fails with, INVALID_ARG for an answer that cannot be used.
        """
        for place, answers in _questions(call):
            said = self._run(place, call, answers)
            if said is not None:
                return said
        return None

    # --- chains ---------------------------------------------------------------------------------
    def _functions(self, place: _Place) -> tuple[Numbered, ...]:
        return self._provider.functions(*place)

    def _run(
        self, place: _Place, record: Report | core.Call, answers: tuple[type, ...] | None = None
    ) -> object:
        """Call the entries in order; returns the first answer when there may be one."""
        for number, function in self._functions(place):
            where = f"{place[0].__name__}.{place[1]} of entry {number}"
            said = _called(function, record, where)
            if said is _S.STOP_CALLBACK_CHAIN:
                return None
            if isinstance(said, StatusCode) and said is not _S.SUCCESS:
                raise kvs_error(said, f"{where} returned {said.name}", stream=record.stream)
            if (
                answers is None
                or said is None
                or (said is _S.SUCCESS and StatusCode not in answers)
            ):
                continue
            if fault := _fault(said, answers, record):
                raise kvs_error(_S.INVALID_ARG, f"{where} returned {fault}", stream=record.stream)
            return said
        return None


def _questions(call: core.Call) -> Iterator[tuple[_Place, tuple[type, ...]]]:
    """The chains to ask, in order: who has no token for an upload may have one for all."""
    if type(call) in _ASKED:
        yield _ASKED[type(call)]
    if isinstance(call, core.GetStreamingToken):
        yield _ASKED[core.GetSecurityToken]


def _fault(said: object, answers: tuple[type, ...], record: Report | core.Call) -> str:
    """Why an answer cannot be used, "" when it can: the core takes it for the service's own."""
    if not isinstance(said, answers):
        wanted = " or ".join(one.__name__ for one in answers) or "a status"
        return f"{type(said).__name__} in place of {wanted}"
    if isinstance(record, core.GetStreamingEndpoint):
        fault = url_fault(said)
        return f"what is no URL ({shown(said)}): {fault}" if fault else ""
    if isinstance(said, core.StreamDescription):
        arn: object = said.stream_arn
        status: object = said.status
        if not isinstance(arn, str):
            return f"a stream_arn that is {type(arn).__name__}"
        if not isinstance(status, core.StreamStatus):
            return f"a status that is no StreamStatus: {status!r}"
    return ""


def _called(function: Callable[[object], object], record: Report | core.Call, where: str) -> object:
    """What a function returned, or raised as a status of its own."""
    try:
        return function(record)
    except KvsError as error:
        if error.status is _S.STOP_CALLBACK_CHAIN:
            return error.status
        raise kvs_error(
            error.status, f"{where} raised {error.name}: {error.detail}", stream=record.stream
        ) from error
    except Exception as error:
        raise kvs_error(
            _S.INTERNAL_ERROR,
            f"{where} raised {type(error).__name__}: {error}",
            stream=record.stream,
        ) from error
