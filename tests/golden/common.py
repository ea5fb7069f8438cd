"""What the golden modules share: byte values, statuses, verdicts, deliberate differences.

A golden module (`nal.py`, `cpd.py` ...) has two functions:
- `matches(case) -> bool`: whether a case is of its schema;
- `check(case, rules) -> Verdict`: runs the case; `rules` are the names of the deliberate
  differences that `differences.toml` lists under the module's name.
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
    """QUIRK: the C producer does something else, and ours is right for a reason on the list.

    NOT_EXPRESSED: the case asks for something that ours does not have.
    """

    PASSED = "passed"
    FAILED = "failed"
    QUIRK = "quirks"
    NOT_EXPRESSED = "not expressed"


class Verdict(NamedTuple):
    """What became of a case; `detail` is the rule of a quirk, or what differs, or is not expressed.

    `steps` counts its steps by what became of them: "compared", "excused", "not compared".
    """

    outcome: Outcome
    detail: str = ""
    steps: Mapping[str, int] = {}


def differences(schema: str) -> frozenset[str]:
    """The rules listed for a schema."""
    table = tomllib.loads(_DIFFERENCES.read_text())
    return frozenset(entry["rule"] for entry in table.get(schema, []))


def input_bytes(value: str | Mapping[str, int]) -> bytes:
    """The bytes of an input: hex, `{"pattern": N}` or `{"zeros": N}`."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    if "zeros" in value:
        return bytes(value["zeros"])
    count = value["pattern"]
    return (_PATTERN * (count // len(_PATTERN) + 1))[:count]


def output_form(data: bytes, like: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """`data` written the way in which the expectation is: hex, or hash, length and head."""
    if isinstance(like, str):
        return data.hex()
    head = data[: len(bytes.fromhex(like["head"]))].hex()
    return {"sha256": hashlib.sha256(data).hexdigest(), "length": len(data), "head": head}


def run(call: Callable[[], Result]) -> Result:
    """The result of `call` with status 0, or the status alone of the error that it raised."""
    try:
        return {"status": SUCCESS, **call()}
    except KvsError as error:
        return failure(error.status)


def failure(status: int) -> Result:
    """A result that is a status alone."""
    return {"status": f"0x{status:08x}"}


def failed(expected: Mapping[str, Any], got: Mapping[str, Any]) -> Verdict:
    """A failure that shows what was expected and what came."""
    return Verdict(Outcome.FAILED, f"expected {_short(expected)}, got {_short(got)}")


def _short(value: Mapping[str, Any]) -> str:
    text = str(dict(value))
    return text if len(text) <= 240 else f"{text[:240]}..."
