"""Run the fuzz targets on their seeds and on damaged seeds: a small, repeatable `make fuzz`."""

from __future__ import annotations

import random

import pytest
from fuzz.targets import TARGETS, seeds

DAMAGED_PER_TARGET = 1500


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return the data with some bytes changed, removed, repeated or inserted."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(out))
        kind = rng.randrange(4)
        if kind == 0:
            out[at : at + 1] = rng.randbytes(1)
        elif kind == 1:
            del out[at : at + rng.randint(1, 8)]
        elif kind == 2:
            out[at:at] = out[: rng.randint(0, 40)]
        else:
            out[at:at] = rng.choice((b"\0\0\1", b"\0\0\0\1", b"\xff" * 4, b"\0" * 4))
    return bytes(out)


@pytest.mark.parametrize("target", TARGETS)
def test_only_documented_refusals(target: str) -> None:
    """A target raises nothing on valid and on damaged input."""
    rng = random.Random(f"{target} 3")
    inputs = seeds(target)
    assert inputs, "the target has no seeds"
    for data in [b"", *inputs]:
        TARGETS[target](data)
    for _ in range(DAMAGED_PER_TARGET):
        TARGETS[target](damaged(rng.choice(inputs), rng))


def test_a_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target raises if the code that it tests loses a unit."""
    monkeypatch.setattr("fuzz.targets.split_annexb", lambda data: [])
    with pytest.raises(AssertionError, match="units were lost"):
        TARGETS["nal"](b"\0\0\1\x65abc")
