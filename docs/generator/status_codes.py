"""The table of all status codes, and a page for each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kvsproducer
from generator.markdown import cell, table
from kvsproducer.status import StatusCode
from kvsproducer.status.catalogue import Entry, entries, entry
from kvsproducer.status.explain import Explanation
from kvsproducer.status.service_errors import wire_names

__all__ = ["COMPAT_NOTE", "overview", "pages", "raised_by_compat_only"]

PACKAGE = Path(kvsproducer.__file__).resolve().parent

INTRO = """\
---
hide: [toc]
---

# Status codes

Every error that `kvsproducer` raises or reports is a `KvsError` with a `status`. This table has all
{count} statuses: the {reference} codes of AWS's Error Code Reference, and those that are only in
the headers of AWS's SDKs. Each has a page of its own with its cause and what to do about it. On the
command line, `kvs explain CODE` prints the same.

**Value** is the number that AWS's SDKs use. The reference misprints {misprints} of them; the table
gives the misprint below the correct value. **Exception** is the class to
[catch](../how-to/errors.md): the usual one first, then those that carry the status in other places.
Nothing in this package raises the
{silent} codes marked with a dash; their pages say why. Of the codes in AWS's reference those are
{argued}.

Type a value, a name or a word into the field to filter the table.

<input class="status-filter" type="search" placeholder="0x5200000e, STREAM_STATE, retention …"
 aria-label="Filter the table">
"""
COMPAT_NOTE = (
    "Only `kvsproducer.compat` raises this status. A program meets it if it has C-style callbacks"
    " (`CallbacksProvider`) or writes log files with `FileLogHandler`."
)


def overview() -> str:
    """Return the page with the table of all statuses."""
    lines = [
        INTRO.format(
            count=len(entries()),
            reference=sum(one.printed is not None for one in entries()),
            misprints=sum(one.misprinted for one in entries()),
            silent=sum(not one.raised for one in entries()),
            argued=" and ".join(
                f"`{one.name}`" for one in entries() if not one.raised and one.printed is not None
            ),
        )
    ]
    return "\n".join([*lines, *table(("Name", "Value", "Meaning", "Exception"), _rows())]) + "\n"


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for one in entries():
        value = f"`{one.status.hex}`"
        if one.misprinted:
            value += f"<br>printed `0x{one.printed:08x}`"
        short = one.name.removeprefix("STATUS_").replace("_", "_<wbr>")  # where a name may break
        name = f"[<code>{short}</code>](status/{one.status.hex}.md)"
        exception = _exception(one) if one.raised else "–"  # noqa: RUF001 a dash for readers
        yield name, value, cell(one.description), exception


def _exception(one: Entry) -> str:
    words = Explanation(one).exception.split(" or ")
    return "" if one.status is StatusCode.SUCCESS else " or<br>".join(f"`{word}`" for word in words)


def pages() -> Iterator[tuple[str, str]]:
    """Yield (path below docs/, text) of the page of each status."""
    for one in entries():
        yield f"reference/status/{one.status.hex}.md", _page(one)


def _page(one: Entry) -> str:
    facts = [("Value", f"`{one.status.hex}` ({int(one.status)})")]
    if one.misprinted:
        facts.append(("Printed in AWS's reference", f"`0x{one.printed:08x}`, which is a misprint"))
    elif one.printed is None:
        facts.append(("Printed in AWS's reference", "no: it is only in the headers of AWS's SDKs"))
    if one.header_name != one.name:
        facts.append(("Spelled in AWS's header", f"`{one.header_name}`"))
    facts.append(("Library", cell(one.section)))
    if one.raised and one.status is not StatusCode.SUCCESS:
        facts.append(("Exception", _exception(one).replace("<br>", " ")))
    named = wire_names(one.status)
    if named:
        facts.append(("The service calls it", ", ".join(f"`{name}`" for name in named)))
    lines = [f"# {one.name}", "", cell(one.description), ""]
    lines += [*table(("", ""), facts), ""]
    lines += ["## Cause", "", cell(one.condition), ""]
    if one.status in raised_by_compat_only():
        lines += [COMPAT_NOTE, ""]
    if one.action:
        lines += ["## What to do", "", cell(one.action), ""]
    if one.test is not None:
        command = f'pytest "{one.test}"'
        lines += ["## Test", "", f"In a clone of the project, `{command}` provokes it.", ""]
    return "\n".join([*lines, "[All status codes](../status-codes.md)", ""])


@cache
def raised_by_compat_only() -> frozenset[StatusCode]:
    """Return the statuses that the code of `compat` names and no other code does."""
    inside: set[str] = set()
    outside: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        folder = path.relative_to(PACKAGE).parts[0]
        if folder != "status":
            named = re.findall(r"\b(?:StatusCode|_S)\.([A-Z]\w*)", path.read_text(encoding="utf-8"))
            (inside if folder == "compat" else outside).update(named)
    found = (entry(StatusCode[name]) for name in inside - outside)
    return frozenset(one.status for one in found if one.raised)
