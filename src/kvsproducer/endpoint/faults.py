"""Fault scripts: make the endpoint fail chosen requests in chosen ways.

Fault scripts test how a producer reacts to failures of the service. A script is a list of faults.
Each fault names an operation, what happens to its requests, and to how many of them. The first
fault for the request's operation that is not used up applies. As JSON (`kvs serve --faults FILE`):

    [{"on": "PutMedia", "do": "reset", "after_bytes": 50000, "times": 3},
     {"on": "DescribeStream", "do": "status", "status": 503, "times": 2}]

This module does no I/O: `misbehaviour` applies the faults.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from kvsproducer import wire
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["Fault", "FaultKind", "FaultScript", "faults_from_json"]

_S = StatusCode
_FOR_EVER: Final = 10**9


class FaultKind(StrEnum):
    """What happens to a request."""

    STATUS = "status"  # refuse it with `status` and `error`
    RESET = "reset"  # reset the connection
    HALF_CLOSE = (
        "half_close"  # close our direction of the connection during the response; keep reading
    )
    END_ANSWER = "end_answer"  # end the response normally, but keep reading
    STALL = "stall"  # neither read nor write for `seconds`; the connection stays open
    DELAY = "delay"  # wait `seconds` before handling the request
    SLOW_READ = "slow_read"  # read at most `bytes_per_s` of the body
    SILENCE = "silence"  # keep reading, but send nothing
    GARBAGE = "garbage"  # send `text`, then continue (JSON operations: instead of the response)
    CONTINUE = "continue"  # send 100 Continue, whether the client expects it or not
    NO_CONTINUE = "no_continue"  # do not send 100 Continue to a client that expects it


_UPLOADS_ONLY: Final = frozenset(
    {FaultKind.HALF_CLOSE, FaultKind.END_ANSWER, FaultKind.SLOW_READ, FaultKind.SILENCE}
)
_GARBAGE: Final = 'HTTP/1.1 {"EventType":"PERSISTED","FragmentTimecode":"many"]}}\r\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: which requests it applies to, and what it does.

    on: the operation, as in the API reference ("PutMedia"), or "*" for any.

    do: a value of `FaultKind`.

    times: how many requests get the fault, None for all.

    skip: how many requests are served normally before the first fault.

    after_bytes: how much of the body of a PutMedia request is read before the fault.

    status, error, seconds, bytes_per_s, text: see `FaultKind`.

    Raises INVALID_ARG.
    """

    on: str
    do: FaultKind | str
    times: int | None = 1
    skip: int = 0
    after_bytes: int = 0
    status: int = 503
    error: str = "ServiceUnavailable"
    seconds: float = 3600.0
    bytes_per_s: int = 1000
    text: str = _GARBAGE

    def __post_init__(self) -> None:
        self._check_types()
        if self.on != "*" and self.on not in wire.PATHS:
            raise _invalid(
                f"on={self.on!r} is not an operation; use one of {', '.join(wire.PATHS)}, *"
            )
        try:
            object.__setattr__(self, "do", FaultKind(self.do))
        except ValueError:
            raise _invalid(
                f"do={self.do!r} is unknown; use one of {', '.join(FaultKind)}"
            ) from None
        if self.on != "PutMedia" and (self.do in _UPLOADS_ONLY or self.after_bytes):
            raise _invalid(f"{self.do} and after_bytes work for PutMedia only, not for {self.on}")
        if self.do is FaultKind.STATUS and (self.after_bytes or not 400 <= self.status < 600):
            raise _invalid(
                f"status={self.status} must be 400 to 599, without after_bytes: it is sent first"
            )

    def _check_types(self) -> None:
        for name in ("on", "do", "error", "text"):
            if not isinstance(value := getattr(self, name), str):
                raise _invalid(f"{name}={value!r} is not a text")
        for name in ("times", "skip", "after_bytes", "status", "bytes_per_s"):
            value = getattr(self, name)
            if not (name == "times" and value is None) and not _is_count(value):
                raise _invalid(f"{name}={value!r} is not a whole number of at least 0")
        if not _is_count(self.seconds) and not (
            isinstance(self.seconds, float) and 0 <= self.seconds < _FOR_EVER
        ):
            raise _invalid(f"seconds={self.seconds!r} is not a number of at least 0")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _FOR_EVER


def _invalid(detail: str) -> Exception:
    return kvs_error(_S.INVALID_ARG, f"fault script: {detail}")


class FaultScript:
    """Select the fault for each request. `applied` lists the faults used so far, oldest first."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._left = [
            [fault, fault.skip, _FOR_EVER if fault.times is None else fault.times]
            for fault in faults
        ]
        self.applied: list[Fault] = []

    def __bool__(self) -> bool:
        """Return whether the script has faults."""
        return bool(self._left)

    def next(self, operation: str, *, expecting: bool = False) -> Fault | None:
        """Return the fault for the next request for `operation`, or None.

        `expecting`: consider only the faults that concern the response to `Expect: 100-continue`.
        """
        for entry in self._left:
            fault, skip, times = entry
            assert isinstance(fault, Fault)
            assert isinstance(skip, int)
            assert isinstance(times, int)
            about_continue = fault.do is FaultKind.NO_CONTINUE
            if fault.on not in (operation, "*") or not times or about_continue is not expecting:
                continue
            if skip:
                entry[1] = skip - 1
                continue
            entry[2] = times - 1
            self.applied.append(fault)
            return fault
        return None


def faults_from_json(text: str) -> tuple[Fault, ...]:
    """Parse a script in JSON and return its faults. Raises INVALID_ARG."""
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise _invalid(f"it is not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise _invalid("it is not a list of objects")
    known = {field.name for field in fields(Fault)}
    for row in rows:
        if unknown := row.keys() - known:
            named, names = ", ".join(sorted(unknown)), ", ".join(sorted(known))
            raise _invalid(f"unknown field {named}; the fields are {names}")
        if missing := {"on", "do"} - row.keys():
            raise _invalid(f"{row} lacks {', '.join(sorted(missing))}")
    return tuple(Fault(**row) for row in rows)
