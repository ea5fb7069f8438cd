"""A script of faults: which requests the endpoint is to treat badly, and how.

For trying out what a producer does on a bad day. A script is a list of faults; each has an
operation, what to do, and how often. A request meets the first fault of its operation that is not
used up. As JSON (`kvs serve --faults FILE`):

    [{"on": "PutMedia", "do": "reset", "after_bytes": 50000, "times": 3},
     {"on": "DescribeStream", "do": "status", "status": 503, "times": 2}]

No network here: `misbehaviour` carries them out.
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
    """What to do with a request."""

    STATUS = "status"  # refuse it with `status` and `error`
    RESET = "reset"  # reset the connection
    HALF_CLOSE = "half_close"  # end our direction of the connection, mid-answer; read on
    END_ANSWER = "end_answer"  # end the answer as if all were said; read on
    STALL = "stall"  # neither read nor write for `seconds`, nothing is closed
    DELAY = "delay"  # take `seconds` before doing anything
    SLOW_READ = "slow_read"  # take `bytes_per_s` of the body and no more
    SILENCE = "silence"  # read on, and say nothing any more
    GARBAGE = "garbage"  # say `text`, then go on (JSON operations: instead of the answer)
    CONTINUE = "continue"  # say 100 Continue, whether the client asked for it or not
    NO_CONTINUE = "no_continue"  # do not say it to a client that asked for it


_UPLOADS_ONLY: Final = frozenset(
    {FaultKind.HALF_CLOSE, FaultKind.END_ANSWER, FaultKind.SLOW_READ, FaultKind.SILENCE}
)
_GARBAGE: Final = 'HTTP/1.1 {"EventType":"PERSISTED","FragmentTimecode":"many"]}}\r\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    on: the operation, as in the API reference ("PutMedia"), "*" for any.
    do: see `FaultKind`.
    times, skip: how many requests meet it, None for all; after how many that do not.
    after_bytes: of the body of a PutMedia request.
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
            raise _invalid(f"on={self.on!r} is no operation; there are {', '.join(wire.PATHS)}, *")
        try:
            object.__setattr__(self, "do", FaultKind(self.do))
        except ValueError:
            raise _invalid(f"do={self.do!r} is none of {', '.join(FaultKind)}") from None
        if self.on != "PutMedia" and (self.do in _UPLOADS_ONLY or self.after_bytes):
            raise _invalid(f"{self.do} and after_bytes are for PutMedia, not for {self.on}")
        if self.do is FaultKind.STATUS and (self.after_bytes or not 400 <= self.status < 600):
            raise _invalid("a status is 400 to 599, and said before anything is read")

    def _check_types(self) -> None:
        for name in ("on", "do", "error", "text"):
            if not isinstance(value := getattr(self, name), str):
                raise _invalid(f"{name}={value!r} is no text")
        for name in ("times", "skip", "after_bytes", "status", "bytes_per_s"):
            value = getattr(self, name)
            if not (name == "times" and value is None) and not _is_count(value):
                raise _invalid(f"{name}={value!r} is no whole number from 0 on")
        if not _is_count(self.seconds) and not (
            isinstance(self.seconds, float) and 0 <= self.seconds < _FOR_EVER
        ):
            raise _invalid(f"seconds={self.seconds!r} is no number from 0 on")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _FOR_EVER


def _invalid(detail: str) -> Exception:
    return kvs_error(_S.INVALID_ARG, f"fault script: {detail}")


class FaultScript:
    """Hands out the faults; `struck` lists those that requests have met, oldest first."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._left = [
            [fault, fault.skip, _FOR_EVER if fault.times is None else fault.times]
            for fault in faults
        ]
        self.struck: list[Fault] = []

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._left)

    def next(self, operation: str, *, expecting: bool = False) -> Fault | None:
        """The fault that a request for `operation` meets, None for none.

        `expecting`: only asked what to say to a client that waits for 100 Continue.
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
            self.struck.append(fault)
            return fault
        return None


def faults_from_json(text: str) -> tuple[Fault, ...]:
    """The faults of a script in JSON; raises INVALID_ARG."""
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise _invalid(f"no JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise _invalid("not a list of objects")
    known = {field.name for field in fields(Fault)}
    for row in rows:
        if unknown := row.keys() - known:
            named, names = ", ".join(sorted(unknown)), ", ".join(sorted(known))
            raise _invalid(f"unknown {named}; known are {names}")
        if missing := {"on", "do"} - row.keys():
            raise _invalid(f"{row} lacks {', '.join(sorted(missing))}")
    return tuple(Fault(**row) for row in rows)
