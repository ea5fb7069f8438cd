"""`CallbacksProvider`: the chains of callbacks that a program hands to its producer.

One set of platform functions and four chains (producer, stream, auth, API), each at most
`chain_length` long, in the order in which they were added. A provider belongs to one producer,
which frees it when it is closed. The producer's own work takes no slot of a chain (in AWS's C
producer it does). Source: the callbacks provider of AWS's C producer.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from kvsproducer import limits
from kvsproducer.producer.callbacks.structures import (
    ApiCallbacks,
    AuthCallbacks,
    CallbackSet,
    Free,
    PlatformCallbacks,
    ProducerCallbacks,
    StreamCallbacks,
)
from kvsproducer.producer.logger import logger
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["CallbacksProvider", "Numbered"]

_S = StatusCode
Numbered = tuple[int, Callable[[Any], object]]
log = logger("kvsproducer.callbacks")

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

    `chain_length` is how many sets of each kind can be added. Raises INVALID_ARG unless it is a
    whole number from 1 to 19.
    """

    def __init__(self, chain_length: int = limits.DEFAULT_CALLBACK_CHAIN_LEN) -> None:
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
        self._check_version(platform, _S.INVALID_PLATFORM_CALLBACKS_VERSION)
        with self._lock:
            if self._taken:
                raise kvs_error(_S.INVALID_OPERATION, "a producer has begun with another platform")
            replaced, self._platform = self._platform, platform
        if replaced.free != platform.free:
            _free(replaced.free)

    def add(self, callbacks: CallbackSet) -> None:
        """Append a set to its chain; also while a producer uses the provider.

        Raises NULL_ARG for None, MAX_CALLBACK_CHAIN when the chain is full, the
        INVALID_..._CALLBACKS_VERSION of its kind, DUPLICATE_..._CALLBACK_FREE_FUNC when a set with
        the same `free` (of the same object, for a bound method) is in the chain already,
        INVALID_ARG for anything else than a set, or one with a coroutine function, which nobody
        would await, INVALID_OPERATION once the provider is freed.
        """
        if callbacks is None:
            raise kvs_error(_S.NULL_ARG, "callbacks is None")
        kind = type(callbacks)
        if kind not in _CHAINS:
            raise kvs_error(_S.INVALID_ARG, f"{kind.__name__} is no set that goes into a chain")
        wrong_version, duplicate = _CHAINS[kind]
        self._check_version(callbacks, wrong_version)
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
            self._functions = {}  # whoever is filling the old one fills it in vain
            self.additions += 1

    @staticmethod
    def _check_functions(callbacks: CallbackSet) -> None:
        for field in dataclasses.fields(callbacks):
            if inspect.iscoroutinefunction(getattr(callbacks, field.name)):
                where = f"{type(callbacks).__name__}.{field.name}"
                raise kvs_error(_S.INVALID_ARG, f"{where} is a coroutine function: give a function")

    @staticmethod
    def _check_version(callbacks: PlatformCallbacks | CallbackSet, status: StatusCode) -> None:
        if callbacks.version != limits.CALLBACKS_VERSION:
            raise kvs_error(
                status,
                f"version {callbacks.version!r}; the newest known is {limits.CALLBACKS_VERSION}",
            )

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

    def take(self) -> None:
        """A producer takes the provider over; raises INVALID_OPERATION when one has already."""
        with self._lock:
            if self._taken:
                raise kvs_error(_S.INVALID_OPERATION, "a provider serves one producer")
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


def _free(function: Free | None) -> None:
    if function is None:
        return
    try:
        function()
    except (Exception, SystemExit):
        log.exception("a free function of callbacks raised")
