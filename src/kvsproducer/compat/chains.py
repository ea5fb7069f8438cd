"""The chains of callbacks that a program hands to its producer, and how they are called.

A `CallbacksProvider` has one set of platform functions and four chains (producer, stream, auth,
API), each at most `chain_length` long, in the order in which they were added. It belongs to one
producer, which frees it when it is closed. The producer's own work takes no slot of a chain (in
AWS's C producer it does). `Chains` is the provider at work:

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

import dataclasses
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final

from kvsproducer import client as core
from kvsproducer import limits
from kvsproducer.client.events import EventQueue
from kvsproducer.compat.logs import attached, log_level
from kvsproducer.compat.platform import LogPrint, clock_of, dice_of
from kvsproducer.compat.structures import (
    ApiCallbacks,
    AuthCallbacks,
    CallbackSet,
    ClientShutdown,
    DeviceCertToToken,
    Free,
    PlatformCallbacks,
    ProducerCallbacks,
    StreamCallbacks,
    StreamDataAvailable,
)
from kvsproducer.limits import MAX_QUEUED_EVENTS
from kvsproducer.producer.hooks import Fault
from kvsproducer.service.credentials import AwsCredentials
from kvsproducer.service.urls import shown, url_fault
from kvsproducer.status import InvalidConfiguration, KvsError, StatusCode, kvs_error, with_detail

__all__ = ["CallbacksProvider", "Chains", "Numbered", "Report"]

_S = StatusCode
Numbered = tuple[int, Callable[[Any], object]]
log = logging.getLogger("kvsproducer.callbacks")

Report = core.Event
_Record = Report | core.Call | DeviceCertToToken
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
    core.StreamEnded: (StreamCallbacks, "stream_closed"),
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
    core.CreateDevice: ((ApiCallbacks, "create_device"), (str,)),
}
_TOKEN_CALLS: Final = core.GetSecurityToken | core.GetStreamingToken
_CERTIFICATE: Final = (AuthCallbacks, "get_device_certificate")
_CERT_TO_TOKEN: Final = (AuthCallbacks, "device_cert_to_token")
_FINGERPRINT: Final = (AuthCallbacks, "get_device_fingerprint")
_TAG_DEVICE: Final = (ApiCallbacks, "tag_device")
# A listener that fails when something is ready is logged under the status that AWS has for it.
_READY_FAILURES: Final[dict[type[Report], StatusCode]] = {
    core.ClientReady: _S.CLIENT_READY_CALLBACK_FAILED,
    core.StreamReady: _S.STREAM_READY_CALLBACK_FAILED,
}


# The chains in the order in which they are freed: what a version above the newest known raises,
# and what a second set with the same `free` raises.
_CHAINS: Final[dict[type[CallbackSet], tuple[StatusCode, StatusCode]]] = {
    ProducerCallbacks: (
        _S.INVALID_PRODUCER_CALLBACKS_VERSION,
        _S.DUPLICATE_PRODUCER_CALLBACK_FREE_FUNC,
    ),
    StreamCallbacks: (_S.INVALID_STREAM_CALLBACKS_VERSION, _S.DUPLICATE_STREAM_CALLBACK_FREE_FUNC),
    AuthCallbacks: (_S.INVALID_AUTH_CALLBACKS_VERSION, _S.DUPLICATE_AUTH_CALLBACK_FREE_FUNC),
    ApiCallbacks: (_S.INVALID_API_CALLBACKS_VERSION, _S.DUPLICATE_API_CALLBACK_FREE_FUNC),
}


class CallbacksProvider:
    """Chains of callbacks for one `Producer(callbacks=...)`.

    `chain_length` is how many sets of each kind can be added. `version` is that of AWS's structure
    of all callbacks, `ClientCallbacks`. Raises INVALID_ARG unless `chain_length` is a whole number
    from 1 to 19, and INVALID_CALLBACKS_VERSION for another version than 0.
    """

    def __init__(
        self,
        chain_length: int = limits.DEFAULT_CALLBACK_CHAIN_LEN,
        *,
        version: int = limits.CALLBACKS_VERSION,
    ) -> None:
        _check_version(version, _S.INVALID_CALLBACKS_VERSION)
        whole = isinstance(chain_length, int)
        if not whole or not 0 < chain_length < limits.MAX_CALLBACK_CHAIN_LEN:
            raise kvs_error(
                _S.INVALID_ARG,
                f"chain_length={chain_length!r}: from 1 to {limits.MAX_CALLBACK_CHAIN_LEN - 1}",
            )
        self.chain_length = chain_length
        self.additions = 0  # how often `add` was called
        self._lock = threading.Lock()
        self._platform = PlatformCallbacks()
        self._chains: dict[type[CallbackSet], tuple[CallbackSet, ...]] = dict.fromkeys(_CHAINS, ())
        self._functions: dict[tuple[type[CallbackSet], str], tuple[Numbered, ...]] = {}
        self._taken = self._freed = False

    @property
    def platform(self) -> PlatformCallbacks:
        """The platform's functions; all None unless they were set."""
        return self._platform

    def set_platform(self, platform: PlatformCallbacks) -> None:
        """Replace the platform's functions; the set that was there is freed.

        Raises NULL_ARG for None, INVALID_ARG for another kind of set,
        INVALID_PLATFORM_CALLBACKS_VERSION, and INVALID_OPERATION when a producer uses the provider
        already.
        """
        if platform is None:
            raise kvs_error(_S.NULL_ARG, "platform is None")
        if type(platform) is not PlatformCallbacks:
            kind = type(platform).__name__
            raise kvs_error(_S.INVALID_ARG, f"{kind} is not PlatformCallbacks: it goes to add()")
        _check_version(platform.version, _S.INVALID_PLATFORM_CALLBACKS_VERSION)
        with self._lock:
            if self._taken:
                raise InvalidConfiguration(
                    _S.INVALID_OPERATION, "a producer has begun with another platform"
                )
            replaced, self._platform = self._platform, platform
        if replaced.free != platform.free:
            _free(replaced.free)

    def add(self, callbacks: CallbackSet) -> None:
        """Append a set to its chain; also while a producer uses the provider.

        Raises NULL_ARG for None, MAX_CALLBACK_CHAIN when the chain is full, the
        INVALID_..._CALLBACKS_VERSION of its kind, DUPLICATE_..._CALLBACK_FREE_FUNC when a set with
        the same `free` (of the same object, for a bound method) is in the chain already,
        INVALID_ARG for anything else than a set, or one with a coroutine function, which is
        not awaited, INVALID_OPERATION once the provider is freed.
        """
        if callbacks is None:
            raise kvs_error(_S.NULL_ARG, "callbacks is None")
        kind = type(callbacks)
        if kind not in _CHAINS:
            raise kvs_error(_S.INVALID_ARG, f"{kind.__name__} is no set that goes into a chain")
        wrong_version, duplicate = _CHAINS[kind]
        _check_version(callbacks.version, wrong_version)
        self._check_functions(callbacks)
        with self._lock:
            chain = self._chains[kind]
            if self._freed:
                raise kvs_error(_S.INVALID_OPERATION, "the provider's producer is closed")
            if len(chain) >= self.chain_length:
                raise kvs_error(
                    _S.MAX_CALLBACK_CHAIN,
                    f"{self.chain_length} {kind.__name__} are added: CallbacksProvider(chain_length"
                    f"=...) takes up to {limits.MAX_CALLBACK_CHAIN_LEN - 1}",
                )
            if callbacks.free is not None and any(one.free == callbacks.free for one in chain):
                raise kvs_error(duplicate, f"{kind.__name__} with free={callbacks.free!r}")
            self._chains[kind] = (*chain, callbacks)
            self._functions = {}  # a thread that still fills the old one fills it in vain
            self.additions += 1

    @staticmethod
    def _check_functions(callbacks: CallbackSet) -> None:
        for field in dataclasses.fields(callbacks):
            if inspect.iscoroutinefunction(getattr(callbacks, field.name)):
                where = f"{type(callbacks).__name__}.{field.name}"
                raise kvs_error(_S.INVALID_ARG, f"{where} is a coroutine function: give a function")

    def chain(self, kind: type[CallbackSet]) -> tuple[CallbackSet, ...]:
        """The sets of a kind, in the order in which they were added."""
        return self._chains[kind]

    def functions(self, kind: type[CallbackSet], member: str) -> tuple[Numbered, ...]:
        """The functions of that name in a chain, with the numbers (from 1) of their entries."""
        known, place = self._functions, (kind, member)
        if place not in known:
            numbered = enumerate((getattr(one, member) for one in self._chains[kind]), start=1)
            known[place] = tuple((n, function) for n, function in numbered if function is not None)
        return known[place]

    def start(self, log_level: int) -> Chains:
        """Serve a producer, whose `ClientInfo.log_level` is for `log_print`.

        Raises INVALID_OPERATION when the provider serves another producer.
        """
        return Chains(self, log_level)

    def take(self) -> None:
        """A producer takes the provider over; raises INVALID_OPERATION when one has already."""
        with self._lock:
            if self._taken:
                raise InvalidConfiguration(_S.INVALID_OPERATION, "a provider serves one producer")
            self._taken = True

    def free(self) -> None:
        """Call each set's `free` once: platform, producer, stream, auth, API; a producer does it.

        One that raises is logged, and the next is called.
        """
        with self._lock:
            if self._freed:
                return
            self._freed = True
        for function in self._frees():
            _free(function)

    def _frees(self) -> Iterator[Free | None]:
        yield self._platform.free
        for chain in self._chains.values():
            yield from (callbacks.free for callbacks in chain)


def _check_version(version: int, status: StatusCode) -> None:
    if version != limits.CALLBACKS_VERSION:
        raise kvs_error(
            status, f"version {version!r}; the newest known is {limits.CALLBACKS_VERSION}"
        )


def _free(function: Free | None) -> None:
    if function is None:
        return
    try:
        function()
    except Exception:
        log.exception("a free function of callbacks raised")


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

    def clock(self, fault: Fault) -> Callable[[], int]:
        """What tells the time in ticks: the platform's clock, or the system's if that fails."""
        return clock_of(self._provider.platform, fault)

    def dice(self, fault: Fault) -> Callable[[int], int]:
        """A number from 0 to below n: the platform's, or the system's if that fails."""
        return dice_of(self._provider.platform, fault)

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
                raise with_detail(
                    error, f"{error.detail}; the frame was accepted", stream=report.stream
                ) from error.__cause__

    # --- afterwards -----------------------------------------------------------------------------
    def tell(self, report: Report) -> None:
        """Run the chain of an event that no caller waits for; a failure is logged."""
        place = _TOLD.get(type(report))
        if place is None:
            return
        try:
            self._run(place, report)
        except KvsError as error:
            status = _READY_FAILURES.get(type(report), error.status)
            log.warning("%s: %s", status.name, error.detail, exc_info=error.__cause__)

    def end(self) -> None:
        """The producer is closed: tell, and free the provider's sets."""
        self.tell(ClientShutdown())
        self._log.close()
        self._provider.free()

    # --- before a call --------------------------------------------------------------------------
    def asks(self, call: core.Call) -> bool:
        """Whether an entry is to be asked about this call."""
        places = [place for place, _ in _questions(call)]
        if isinstance(call, _TOKEN_CALLS):
            places += _CERTIFICATE, _FINGERPRINT
        elif isinstance(call, core.CreateDevice) and call.tags:
            places.append(_TAG_DEVICE)
        return any(self._functions(place) for place in places)

    def ask(self, call: core.Call) -> object:
        """The first entry's answer to a call, None when it is to be made; may block.

        Raises what the chain fails with, INVALID_ARG for an answer that cannot be used.
        """
        for place, answers in _questions(call):
            said = self._run(place, call, answers)
            if said is not None:
                break
        if isinstance(call, _TOKEN_CALLS) and said is None:
            return self._token_of_device(call)
        if isinstance(call, core.CreateDevice) and call.tags:
            self._tag_device(call)
        return said

    # --- the device, for which KVS has no operations --------------------------------------------
    def _token_of_device(self, call: core.GetSecurityToken | core.GetStreamingToken) -> object:
        """Exchange the device's certificate for a token; None when no entry has either.

        Raises GET_CLIENT_TOKEN_CALL_FAILED, SERVICE_CALL_CALLBACKS_MISSING,
        DEVICE_FINGERPRINT_LENGTH and CLIENT_PROVISION_CALL_FAILED; see `AuthCallbacks`.
        """
        certificate = self._run(_CERTIFICATE, call, (bytes,))
        if isinstance(certificate, bytes):
            return self._exchange(DeviceCertToToken(certificate, call.stream))
        if not self._functions(_FINGERPRINT):
            return None
        fingerprint = self._run(_FINGERPRINT, call, (str,))
        if isinstance(fingerprint, str) and len(fingerprint) > limits.MAX_DEVICE_FINGERPRINT_LEN:
            raise kvs_error(
                _S.DEVICE_FINGERPRINT_LENGTH,
                f"the device's fingerprint has {len(fingerprint)} characters,"
                f" at most {limits.MAX_DEVICE_FINGERPRINT_LEN} are allowed",
            )
        raise kvs_error(
            _S.CLIENT_PROVISION_CALL_FAILED,
            "the callbacks gave neither a token nor a certificate, and KVS cannot provision a"
            " device by its fingerprint; add an AuthCallbacks.get_security_token",
        )

    def _exchange(self, question: DeviceCertToToken) -> object:
        if not self._functions(_CERT_TO_TOKEN):
            raise kvs_error(
                _S.SERVICE_CALL_CALLBACKS_MISSING,
                "AuthCallbacks.get_device_certificate returned a certificate, and no entry has a"
                " device_cert_to_token to exchange it for credentials",
            )
        try:
            token = self._run(_CERT_TO_TOKEN, question, (AwsCredentials,))
        except KvsError as error:
            told = f"{error.name}: {error.detail}"
            raise kvs_error(_S.GET_CLIENT_TOKEN_CALL_FAILED, told) from error
        if token is None:
            raise kvs_error(
                _S.GET_CLIENT_TOKEN_CALL_FAILED,
                "no AuthCallbacks.device_cert_to_token returned credentials for the certificate",
            )
        return token

    def _tag_device(self, call: core.CreateDevice) -> None:
        try:
            self._run(_TAG_DEVICE, call)
        except KvsError as error:
            told = f"{error.name}: {error.detail}"
            raise kvs_error(_S.TAG_CLIENT_CALL_FAILED, told) from error

    # --- chains ---------------------------------------------------------------------------------
    def _functions(self, place: _Place) -> tuple[Numbered, ...]:
        return self._provider.functions(*place)

    def _run(
        self, place: _Place, record: _Record, answers: tuple[type, ...] | None = None
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


def _fault(said: object, answers: tuple[type, ...], record: _Record) -> str:
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


def _called(function: Callable[[object], object], record: _Record, where: str) -> object:
    """What a function returned, or raised as a status of its own."""
    try:
        return function(record)
    except KvsError as error:
        if error.status is _S.STOP_CALLBACK_CHAIN:
            return error.status
        raise with_detail(
            error, f"{where} raised {error.name}: {error.detail}", stream=record.stream
        ) from error
    except Exception as error:
        raise kvs_error(
            _S.INTERNAL_ERROR,
            f"{where} raised {type(error).__name__}: {error}",
            stream=record.stream,
        ) from error
