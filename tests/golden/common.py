"""Helpers of the golden modules: byte values, statuses, verdicts and the list of differences.

A golden module (`nal.py`, `cpd.py` ...) has two functions:
- `matches(case) -> bool`: return True if a case has the module's schema;
- `check(case, rules) -> Verdict`: run the case. `rules` are the names of the deliberate
  differences that `differences.toml` lists under the module's name.

In all golden modules, "ours" and "we" mean kvsproducer; "AWS's client" and "the C producer" mean
the program whose results were recorded.
"""

from __future__ import annotations

import enum
import hashlib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from kvsproducer.status import KvsError

Case: TypeAlias = Mapping[str, Any]
Result: TypeAlias = dict[str, Any]

SUCCESS = "0x00000000"
_DIFFERENCES = Path(__file__).with_name("differences.toml")
_PATTERN = bytes(1 + index % 251 for index in range(251))


class Outcome(enum.Enum):
    """The result of a case.

    QUIRK: our result differs from the C producer's, and a listed rule says why ours is right.
    NOT_EXPRESSED: the case uses a feature that kvsproducer does not have.
    """

    PASSED = "passed"
    FAILED = "failed"
    QUIRK = "quirks"
    NOT_EXPRESSED = "not expressed"


class Verdict(NamedTuple):
    """The outcome of a case. `detail` names the rule, the difference or the missing feature.

    `steps` counts the case's steps: "compared", "excused", "not compared".
    """

    outcome: Outcome
    detail: str = ""
    steps: Mapping[str, int] = {}


def differences(schema: str) -> frozenset[str]:
    """Return the names of the rules that are listed for a schema."""
    table = tomllib.loads(_DIFFERENCES.read_text())
    return frozenset(entry["rule"] for entry in table.get(schema, []))


def input_bytes(value: str | Mapping[str, int]) -> bytes:
    """Return the bytes of an input: hex, `{"pattern": N}` or `{"zeros": N}`."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    if "zeros" in value:
        return bytes(value["zeros"])
    count = value["pattern"]
    return (_PATTERN * (count // len(_PATTERN) + 1))[:count]


def output_form(data: bytes, like: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """Return `data` in the form of the expectation: hex, or hash, length and first bytes."""
    if isinstance(like, str):
        return data.hex()
    head = data[: len(bytes.fromhex(like["head"]))].hex()
    return {"sha256": hashlib.sha256(data).hexdigest(), "length": len(data), "head": head}


def run(call: Callable[[], Result]) -> Result:
    """Return the result of `call` with status 0, or only the status of the error it raised."""
    try:
        return {"status": SUCCESS, **call()}
    except KvsError as error:
        return failure(error.status)


def failure(status: int) -> Result:
    """Return a result that has a status only."""
    return {"status": f"0x{status:08x}"}


def failed(expected: Mapping[str, Any], got: Mapping[str, Any]) -> Verdict:
    """Return a failure that shows the expected and the actual result."""
    return Verdict(Outcome.FAILED, f"expected {_short(expected)}, got {_short(got)}")


def _short(value: Mapping[str, Any]) -> str:
    text = str(dict(value))
    return text if len(text) <= 240 else f"{text[:240]}..."
