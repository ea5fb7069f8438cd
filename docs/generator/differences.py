"""The page of deliberate differences from AWS's producer."""

from __future__ import annotations

import tomllib
from pathlib import Path

from generator.markdown import table

__all__ = ["differences"]

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent.parent / "tests" / "golden" / "differences.toml"

INTRO = """\
# Differences from AWS's producer

`kvsproducer` follows the behaviour of AWS's C producer: names, numbers, states, bytes. Where that
behaviour is a defect, `kvsproducer` does the right thing instead. This page lists every such place
with its proof: a test, or a rule of the golden runner. That runner compares `kvsproducer` with the
observed output of AWS's producer (`python tests/golden/run.py FILE...`). It accepts another result
only where a rule derives the right one from the input.

**No.** is the number in the list of defects that came with the golden data. "quirk" stands for a
case that the data marks as odd, "-" for one that it does not mention.

The sources of this page are `tests/golden/differences.toml` and `docs/differences.toml`.
"""
SECTIONS = (
    # (key in the golden file, heading)
    ("nal", "NAL units and configuration records"),
    ("cpd", "Codec private data"),
    ("mkv", "Packaging into Matroska"),
    ("ack", "Acknowledgements"),
    ("stream", "Streams and sessions"),
)


def differences() -> str:
    """Return the page: what golden cases show, what other tests show, what was kept."""
    golden = tomllib.loads(GOLDEN.read_text(encoding="utf-8"))
    by_hand = tomllib.loads((HERE.parent / "differences.toml").read_text(encoding="utf-8"))
    unknown = golden.keys() - {key for key, _ in SECTIONS}
    assert not unknown, f"{GOLDEN} has sections without a heading: {unknown}"
    lines = [INTRO, "## Shown by golden cases"]
    for key, heading in SECTIONS:
        rows = (
            (
                row["source"].removeprefix("DEFECTS "),
                row["expectation"],
                row["reason"],
                f"`{key}: {row['rule']}`",
            )
            for row in golden.get(key, [])
        )
        heads = ("No.", "`kvsproducer`", "AWS's producer, and the reason", "Golden rule")
        lines += ["", f"### {heading}", "", *table(heads, rows)]
    lines += ["", "## Shown by other tests", ""]
    others = ((r["number"], r["aws"], r["ours"], f"`{r['test']}`") for r in by_hand["difference"])
    lines += table(("No.", "AWS's producer", "`kvsproducer`", "Test"), others)
    lines += ["", "## Kept", "", "This behaviour may surprise; it is the same as AWS's.", ""]
    kept = ((row["number"], row["what"], f"`{row['test']}`") for row in by_hand["kept"])
    return "\n".join([*lines, *table(("No.", "Behaviour", "Test"), kept)]) + "\n"
