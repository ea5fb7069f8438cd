"""Which service calls the shell can make: AWS's Callbacks structure, without the functions.

Facts: AWS's client takes a structure of callbacks, some of them mandatory. Here a call is an
effect, so a shell only says which kinds of `Call` it answers; by default all. The core answers
optional ones itself that the shell leaves out (there is no token, no certificate, no fingerprint).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kvsproducer import limits
from kvsproducer.client.effects import (
    Call,
    CreateDevice,
    CreateStream,
    DescribeStream,
    DeviceCertToToken,
    GetDeviceCertificate,
    GetDeviceFingerprint,
    GetSecurityToken,
    GetStreamingEndpoint,
    GetStreamingToken,
    PutStream,
    TagClient,
    TagStream,
)
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["ServiceCalls"]

_S = StatusCode
_MANDATORY: Final[tuple[type[Call], ...]] = (
    CreateDevice,
    CreateStream,
    DescribeStream,
    GetStreamingEndpoint,
    GetStreamingToken,
    PutStream,
)
_WHEN_NEEDED: Final[tuple[type[Call], ...]] = (TagStream, DeviceCertToToken)
_OPTIONAL: Final[tuple[type[Call], ...]] = (
    GetSecurityToken,
    GetDeviceCertificate,
    GetDeviceFingerprint,
    TagClient,
)
_KINDS: Final = {kind.__name__: kind for kind in (*_MANDATORY, *_WHEN_NEEDED, *_OPTIONAL)}


@dataclass(frozen=True, slots=True)
class ServiceCalls:
    """The kinds of `Call` that the shell answers."""

    kinds: frozenset[type[Call]] = frozenset(_KINDS.values())

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ServiceCalls:
        """From {"version": 0, "calls": [names of the `Call` classes]}.

        Raises INVALID_CALLBACKS_VERSION, INVALID_ARG for a name that is no call.
        """
        version = data.get("version", limits.CALLBACKS_VERSION)
        if version != limits.CALLBACKS_VERSION:
            raise kvs_error(_S.INVALID_CALLBACKS_VERSION, f"version {version!r}")
        names = data.get("calls", tuple(_KINDS))
        if not isinstance(names, list | tuple) or any(name not in list(_KINDS) for name in names):
            raise kvs_error(_S.INVALID_ARG, f"calls {names!r}; known are {', '.join(_KINDS)}")
        return cls(frozenset(_KINDS[name] for name in names))

    def validate(self) -> None:
        """Raise SERVICE_CALL_CALLBACKS_MISSING when a mandatory call is left out."""
        for kind in _MANDATORY:
            self.require(kind)

    def require(self, kind: type[Call]) -> None:
        """Raise SERVICE_CALL_CALLBACKS_MISSING when `kind` is left out."""
        if kind not in self.kinds:
            raise kvs_error(_S.SERVICE_CALL_CALLBACKS_MISSING, f"nobody makes {kind.__name__}")

    def answers(self, kind: type[Call]) -> bool:
        """Whether the shell makes the call; False: the answer is None.

        Raises SERVICE_CALL_CALLBACKS_MISSING for one that is needed now and left out.
        """
        if kind in _WHEN_NEEDED:
            self.require(kind)
        return kind in self.kinds
