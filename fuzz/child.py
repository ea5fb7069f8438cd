"""Run one target under atheris: `python -m fuzz.child TARGET [libFuzzer options]`.

Do not import `kvsproducer` before atheris can instrument it. libFuzzer ends the process.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["kvsproducer"]):
    from fuzz.targets import TARGETS

atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
atheris.Fuzz()
