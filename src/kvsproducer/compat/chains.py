"""Chains of callbacks: the provider that collects them, and the object that calls them.

A chain is a list of callback sets of one kind, whose functions are called in order. A
`CallbacksProvider` has one set of platform functions and four chains (producer, stream, auth, API).
A chain has at most `chain_length` sets, in the order in which they were added. The provider belongs
to one producer, which frees the provider when the producer is closed. In AWS's C producer, built-in
functions occupy slots of the chains; here all slots are free. `Chains` calls the functions:

| chain | when | thread | a failure |
|---|---|---|---|
| pressures, data available | in `put_frame`, after the lock | the caller's | fails `put_frame` |
| other events | after the event | the dispatcher's | ends the chain, is logged |
| auth, API | before a service call | a separate one | is the call's result |

An entry is one function of a set. A function that returns or raises STOP_CALLBACK_CHAIN ends the
chain successfully. Any other failure ends the chain and becomes its result. An exception other than
`KvsError` becomes INTERNAL_ERROR.

Source: the callbacks provider of AWS's C producer. In the C producer each answer overwrites the one
before, so the last answer is used. Here the first answer ends the chain and is used.
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
from kvsproducer.compat.logs import attach, log_level
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
from kvsproducer.service.urls import url_fault, url_for_message
from kvsproducer.status import InvalidConfiguration, KvsError, StatusCode, kvs_error, with_detail

__all__ = ["CallbacksProvider", "Chains", "Numbered", "Report"]

_S = StatusCode
Numbered = tuple[int, Callable[[Any], object]]
log = logging.getLogger("kvsproducer.callbacks")

Report = core.Event
_Record = Report | core.Call | DeviceCertToToken
_Place = tuple[type[CallbackSet], str]

# Functions that observe events: class of the record -> chain and function.
_OBSERVERS: Final[dict[type[Report], _Place]] = {
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
# Events whose chains can fail a `put_frame`, besides StreamDataAvailable.
_PRESSURES: Final[tuple[type[core.Event], ...]] = (
    core.StoragePressure,
    core.BufferDurationPressure,
    core.StreamLatencyPressure,
)
# Functions that may answer calls: class of the call -> chain, function, types of the answer.
_ANSWERERS: Final[dict[type[core.Call], tuple[_Place, tuple[type, ...]]]] = {
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
# AWS has these statuses for handlers that fail when something is ready. They are logged.
_READY_FAILURES: Final[dict[type[Report], StatusCode]] = {
    core.ClientReady: _S.CLIENT_READY_CALLBACK_FAILED,
    core.StreamReady: _S.STREAM_READY_CALLBACK_FAILED,
}


# The chains in the order in which they are freed, with the status for a version above the newest
# known one, and the status for a second set with the same `free`.
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

    `chain_length` is how many sets of each kind can be added. `version` is the version of AWS's
    structure `ClientCallbacks`. Raises INVALID_ARG unless `chain_length` is a whole number from 1
    to 19, and INVALID_CALLBACKS_VERSION for a version other than 0.
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
                f"chain_length={chain_length!r} must be 1 to {limits.MAX_CALLBACK_CHAIN_LEN - 1}",
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
        """The platform functions. Each is None unless it was set."""
        return self._platform

    def set_platform(self, platform: PlatformCallbacks) -> None:
        """Replace the platform functions, and free the previous set.

        Raises NULL_ARG for None, INVALID_ARG for another kind of set,
        INVALID_PLATFORM_CALLBACKS_VERSION, and INVALID_OPERATION if a producer already uses the
        provider.
        """
        if platform is None:
            raise kvs_error(_S.NULL_ARG, "platform is None")
        if type(platform) is not PlatformCallbacks:
            kind = type(platform).__name__
            raise kvs_error(_S.INVALID_ARG, f"{kind} is not PlatformCallbacks: give it to add()")
        _check_version(platform.version, _S.INVALID_PLATFORM_CALLBACKS_VERSION)
        with self._lock:
            if self._taken:
                raise InvalidConfiguration(
                    _S.INVALID_OPERATION, "a producer already uses other platform functions"
                )
            replaced, self._platform = self._platform, platform
        if replaced.free != platform.free:
            _free(replaced.free)

    def add(self, callbacks: CallbackSet) -> None:
        """Append a set to its chain. This is also allowed while a producer uses the provider.

        Raises:

        - NULL_ARG for None
        - MAX_CALLBACK_CHAIN if the chain is full
        - INVALID_..._CALLBACKS_VERSION if the version of the set is unknown
        - DUPLICATE_..._CALLBACK_FREE_FUNC if the chain already has a set with the same `free` (for
          a bound method: of the same object)
        - INVALID_ARG for anything other than a set, and for a coroutine function, because it would
          not be awaited
        - INVALID_OPERATION if the provider has been freed
        """
        if callbacks is None:
            raise kvs_error(_S.NULL_ARG, "callbacks is None")
        kind = type(callbacks)
        if kind not in _CHAINS:
            raise kvs_error(
                _S.INVALID_ARG, f"{kind.__name__} is not a set of callbacks for a chain"
            )
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
                    f"the chain has {self.chain_length} {kind.__name__}: "
                    "CallbacksProvider(chain_length=...) allows up to"
                    f" {limits.MAX_CALLBACK_CHAIN_LEN - 1}",
                )
            if callbacks.free is not None and any(one.free == callbacks.free for one in chain):
                raise kvs_error(
                    duplicate, f"the chain has {kind.__name__} with free={callbacks.free!r}"
                )
            self._chains[kind] = (*chain, callbacks)
            self._functions = {}  # a thread that still fills the old cache does no harm
            self.additions += 1

    @staticmethod
    def _check_functions(callbacks: CallbackSet) -> None:
        for field in dataclasses.fields(callbacks):
            if inspect.iscoroutinefunction(getattr(callbacks, field.name)):
                where = f"{type(callbacks).__name__}.{field.name}"
                raise kvs_error(
                    _S.INVALID_ARG,
                    f"{where} is a coroutine function, which is not awaited: use a function",
                )

    def chain(self, kind: type[CallbackSet]) -> tuple[CallbackSet, ...]:
        """Return the sets of a kind, in the order in which they were added."""
        return self._chains[kind]

    def functions(self, kind: type[CallbackSet], member: str) -> tuple[Numbered, ...]:
        """Return the functions named `member` in a chain, each with its position (from 1).

        Sets without that function are skipped.
        """
        known, place = self._functions, (kind, member)
        if place not in known:
            numbered = enumerate((getattr(one, member) for one in self._chains[kind]), start=1)
            known[place] = tuple((n, function) for n, function in numbered if function is not None)
        return known[place]

    def start(self, log_level: int) -> Chains:
        """Return the object that calls the chains for a producer.

        `log_level` is the producer's `ClientInfo.log_level`, which applies to `log_print`.

        Raises INVALID_OPERATION if another producer uses the provider.
        """
        return Chains(self, log_level)

    def take(self) -> None:
        """Reserve the provider for one producer.

        Raises INVALID_OPERATION if another one uses it.
        """
        with self._lock:
            if self._taken:
                raise InvalidConfiguration(
                    _S.INVALID_OPERATION,
                    "another producer uses this provider; create one for each producer",
                )
            self._taken = True

    def free(self) -> None:
        """Call `free` of each set once, in the order platform, producer, stream, auth, API.

        The producer calls this method. If a `free` raises, the exception is logged, and the next
        one is called.
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
            status, f"version {version!r} is unknown; the newest is {limits.CALLBACKS_VERSION}"
        )


def _free(function: Free | None) -> None:
    if function is None:
        return
    try:
        function()
    except Exception:
        log.exception("a free function of callbacks failed")


class Chains:
    """Call the functions of a provider's chains for one producer.

    `level` is the `ClientInfo.log_level` for `log_print`. Raises INVALID_OPERATION if another
    producer uses the provider.
    """

    def __init__(self, provider: CallbacksProvider, level: int) -> None:
        provider.take()
        self._provider = provider
        self._find_put_frame_chains()
        self._log = ExitStack()
        if provider.platform.log_print is not None:
            print_lines = LogPrint(provider.platform.log_print, log_level(level))
            self._log.enter_context(attach(print_lines))
        self._reported = EventQueue(MAX_QUEUED_EVENTS)

    def clock(self, fault: Fault) -> Callable[[], int]:
        """Return a function that returns the time in ticks.

        It calls the platform's function, or the system's clock if that function is missing or
        fails.
        """
        return clock_of(self._provider.platform, fault)

    def dice(self, fault: Fault) -> Callable[[int], int]:
        """Return a random number function.

        It calls the platform's function, or the system's if that function is missing or fails.
        """
        return dice_of(self._provider.platform, fault)

    # --- inside put_frame -----------------------------------------------------------------------
    def reports(self, stream: core.Stream, now: int) -> list[Report]:
        """Return the records for the chains that run in `put_frame`. The caller holds the lock.

        A record is an event or a `StreamDataAvailable`. Event handlers also get the events, through
        `next_reported`.
        """
        if self._known != self._provider.additions:
            self._find_put_frame_chains()
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

    def _find_put_frame_chains(self) -> None:
        """Determine which chains run in `put_frame`.

        The result is cached until a set is added, because `reports` runs for every frame.
        """
        self._known = self._provider.additions
        self._pressures = tuple(kind for kind in _PRESSURES if self._functions(_OBSERVERS[kind]))
        self._data_available = bool(self._functions(_OBSERVERS[StreamDataAvailable]))

    def next_reported(self) -> core.Event | None:
        """Return the next event that `reports` took, or None. The caller holds the lock."""
        return self._reported.pop()

    def report(self, reports: Sequence[Report]) -> None:
        """Run the chains of these records, and raise the first failure.

        The caller must not hold the lock. The frame was accepted before the chains run, and the
        error says so.
        """
        for report in reports:
            try:
                self._run(_OBSERVERS[type(report)], report)
            except KvsError as error:
                raise with_detail(
                    error, f"{error.detail}; the frame was accepted", stream=report.stream
                ) from error.__cause__

    # --- after put_frame ------------------------------------------------------------------------
    def notify(self, report: Report) -> None:
        """Run the chain of an event outside `put_frame`. A failure is logged."""
        place = _OBSERVERS.get(type(report))
        if place is None:
            return
        try:
            self._run(place, report)
        except KvsError as error:
            status = _READY_FAILURES.get(type(report), error.status)
            log.warning("%s: %s", status.name, error.detail, exc_info=error.__cause__)

    def end(self) -> None:
        """Run the `client_shutdown` chain of a closed producer, and free the provider's sets."""
        self.notify(ClientShutdown())
        self._log.close()
        self._provider.free()

    # --- before a call --------------------------------------------------------------------------
    def handles(self, call: core.Call) -> bool:
        """Return whether a callback function was added for this call."""
        places = [place for place, _ in _questions(call)]
        if isinstance(call, _TOKEN_CALLS):
            places += _CERTIFICATE, _FINGERPRINT
        elif isinstance(call, core.CreateDevice) and call.tags:
            places.append(_TAG_DEVICE)
        return any(self._functions(place) for place in places)

    def ask(self, call: core.Call) -> object:
        """Run the chains for a call, and return the first answer. May block.

        Returns None if no function answered, so that the producer must make the call. Raises the
        failure of a function, or INVALID_ARG for an invalid answer.
        """
        for place, answers in _questions(call):
            result = self._run(place, call, answers)
            if result is not None:
                break
        if isinstance(call, _TOKEN_CALLS) and result is None:
            return self._token_of_device(call)
        if isinstance(call, core.CreateDevice) and call.tags:
            self._tag_device(call)
        return result

    # --- the device, for which KVS has no operations --------------------------------------------
    def _token_of_device(self, call: core.GetSecurityToken | core.GetStreamingToken) -> object:
        """Exchange the device's certificate for a token, and return the token.

        Returns None if no function returned a certificate and there is no `get_device_fingerprint`.

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
            "the callbacks returned neither a token nor a certificate, and KVS cannot provision a"
            " device by its fingerprint; add an AuthCallbacks.get_security_token",
        )

    def _exchange(self, question: DeviceCertToToken) -> object:
        if not self._functions(_CERT_TO_TOKEN):
            raise kvs_error(
                _S.SERVICE_CALL_CALLBACKS_MISSING,
                "AuthCallbacks.get_device_certificate returned a certificate, but no entry has a"
                " device_cert_to_token to exchange it for credentials",
            )
        try:
            token = self._run(_CERT_TO_TOKEN, question, (AwsCredentials,))
        except KvsError as error:
            detail = f"{error.name}: {error.detail}"
            raise kvs_error(_S.GET_CLIENT_TOKEN_CALL_FAILED, detail) from error
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
            detail = f"{error.name}: {error.detail}"
            raise kvs_error(_S.TAG_CLIENT_CALL_FAILED, detail) from error

    # --- chains ---------------------------------------------------------------------------------
    def _functions(self, place: _Place) -> tuple[Numbered, ...]:
        return self._provider.functions(*place)

    def _run(
        self, place: _Place, record: _Record, answers: tuple[type, ...] | None = None
    ) -> object:
        """Call the functions of a chain in order. Raise the first failure.

        If `answers` is given, the first result other than None ends the chain and is returned; it
        must be an instance of one of these types. SUCCESS counts as None unless `answers` allows a
        status. Without an answer, or after STOP_CALLBACK_CHAIN, returns None.
        """
        for number, function in self._functions(place):
            where = f"{place[0].__name__}.{place[1]} of entry {number}"
            result = _call(function, record, where)
            if result is _S.STOP_CALLBACK_CHAIN:
                return None
            if isinstance(result, StatusCode) and result is not _S.SUCCESS:
                raise kvs_error(result, f"{where} returned {result.name}", stream=record.stream)
            if (
                answers is None
                or result is None
                or (result is _S.SUCCESS and StatusCode not in answers)
            ):
                continue
            if fault := _fault(result, answers, record):
                raise kvs_error(_S.INVALID_ARG, f"{where} returned {fault}", stream=record.stream)
            return result
        return None


def _questions(call: core.Call) -> Iterator[tuple[_Place, tuple[type, ...]]]:
    """Yield the chains that may answer a call, with the types of valid answers, in order.

    If no function returns a streaming token, a security token is requested instead.
    """
    if type(call) in _ANSWERERS:
        yield _ANSWERERS[type(call)]
    if isinstance(call, core.GetStreamingToken):
        yield _ANSWERERS[core.GetSecurityToken]


def _fault(result: object, answers: tuple[type, ...], record: _Record) -> str:
    """Return why an answer of a callback is invalid, or "".

    The core does not check answers again, so this function must.
    """
    if not isinstance(result, answers):
        wanted = " or ".join(one.__name__ for one in answers) or "a status"
        return f"{type(result).__name__} instead of {wanted}"
    if isinstance(record, core.GetStreamingEndpoint):
        fault = url_fault(result)
        return f"an invalid URL ({url_for_message(result)}): {fault}" if fault else ""
    if isinstance(result, core.StreamDescription):
        arn: object = result.stream_arn
        status: object = result.status
        if not isinstance(arn, str):
            return f"a stream_arn that is {type(arn).__name__}"
        if not isinstance(status, core.StreamStatus):
            return f"a status that is not a StreamStatus: {status!r}"
    return ""


def _call(function: Callable[[object], object], record: _Record, where: str) -> object:
    """Call a function and return its result. Raise a failure as a `KvsError` that names `where`."""
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
