"""The texts of the Error Code Reference, and how to find a status by what was printed.

The data is `catalogue.tsv`: one line for each status with its value, names, library, description,
what raises it in this package (`condition`) and what to do about it (`action`). The reference's
own texts are kept where they say something; what is wrong in it is corrected, and the description
says so. Codes that are in AWS's headers and not in the reference are included.

Read on first use and kept: nothing here runs when the package is imported.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final, NamedTuple

from kvsproducer.status.codes import StatusCode
from kvsproducer.status.service_errors import ACK_ERRORS, EXCEPTIONS

__all__ = ["Entry", "entries", "entry", "find", "near", "number"]

REFERENCE_CODES: Final = 233
"""How many codes the Error Code Reference has."""

_SILENT: Final = ("Not raised", "Never raised")  # how the cause of such a status begins
_TESTS: Final = "tests/test_status_codes.py::test_provoked"  # in the project's repository


class Entry(NamedTuple):
    """One status, as a user meets it."""

    status: StatusCode
    name: str  # as the reference prints it, such as "STATUS_INVALID_STREAM_STATE"
    header_name: str  # as AWS's header spells it; differs for three names
    printed: int | None  # value in the reference, misprints included; None: not in the reference
    section: str  # library: "Client", "Common", "C Producer" ...
    description: str  # what the status means
    condition: str  # what raises it in this package
    action: str  # what to do about it

    @property
    def message(self) -> str:
        """The reference's Message column, which is the name."""
        return self.name

    @property
    def anchor(self) -> str:
        """Where on the page of all status codes it stands."""
        return self.status.hex

    @property
    def raised(self) -> bool:
        """Something in this package raises or reports it; if not, `condition` says why not."""
        return not self.condition.startswith(_SILENT)

    @property
    def test(self) -> str | None:
        """The test that provokes it, as pytest takes it; None when nothing raises it."""
        return f"{_TESTS}[{self.status.name}]" if self.raised else None

    @property
    def misprinted(self) -> bool:
        """The reference prints another value than AWS's headers define."""
        return self.printed is not None and self.printed != self.status


@cache
def _table() -> dict[StatusCode, Entry]:
    text = resources.files(__package__).joinpath("catalogue.tsv").read_text(encoding="utf-8")
    table = {}
    for line in text.splitlines()[1:]:
        value, name, printed, header_name, section, description, condition, action = line.split(
            "\t"
        )
        status = StatusCode(int(value, 16))
        table[status] = Entry(
            status,
            name,
            header_name or name,
            int(printed, 16) if printed else None,
            section,
            description,
            condition,
            action,
        )
    return table


@cache
def _by_value() -> dict[int, Entry]:
    """Correct values, ids of ERROR acks, and misprinted values that are no other code's value."""
    table = {e.printed: e for e in entries() if e.printed is not None}
    table |= {error_id: entry(error.status) for error_id, error in ACK_ERRORS.items()}
    return table | {int(e.status): e for e in entries()}


@cache
def _by_name() -> dict[str, Entry]:
    """Every spelling in capitals, with and without STATUS_, and what the service calls it."""
    table = {name.upper(): entry(status) for name, status in EXCEPTIONS.items()}
    for error in ACK_ERRORS.values():
        table[error.name] = entry(error.status)
    for item in entries():
        for name in (item.name, item.header_name):
            table[name] = table[name.removeprefix("STATUS_")] = item
    return table


def entries() -> tuple[Entry, ...]:
    """All statuses, by ascending value."""
    return tuple(_table().values())


def entry(status: StatusCode) -> Entry:
    """The texts of a status."""
    return _table()[status]


def find(code: int | str) -> Entry | None:
    """The status that is meant by a number or a text; see `explain.lookup`."""
    return _by_value().get(code) if isinstance(code, int) else _find_text(code.strip())


def _find_text(text: str) -> Entry | None:
    for base in (10, 16):
        try:
            found = _by_value().get(int(text, base))
        except ValueError:
            continue
        if found is not None:
            return found
    return _by_name().get(_normal_name(text))


def _normal_name(text: str) -> str:
    name = text.strip().upper().replace("-", "_").replace(" ", "_")
    return name.removeprefix("STATUSCODE.").removeprefix("STATUS_")


def number(code: int | str) -> int | None:
    """The number that a caller wrote: decimal digits, or hexadecimal ones behind 0x."""
    if isinstance(code, int):
        return code
    try:
        return int(code.strip(), 0)
    except ValueError:
        return None


def near(code: int | str) -> tuple[str, ...]:
    """What may have been meant by a code that `find` does not know, the likeliest first.

    Names without STATUS_ for a text, values in hexadecimal for a number; up to three.
    """
    import difflib  # only for a mistake

    meant = number(code)
    if meant is not None:
        values = {int(entry.status) for entry in _by_value().values()}
        library = [value for value in values if value >> 16 == meant >> 16]
        nearest = sorted(sorted(library, key=lambda value: abs(value - meant))[:2])
        return tuple(f"{value:#010x}" for value in nearest)
    assert isinstance(code, str)
    names = [name for name in _by_name() if not name.startswith("STATUS_")]
    close = difflib.get_close_matches(_normal_name(code), names, n=3, cutoff=0.6)
    found = close or [n for n in names if len(code) >= 3 and _normal_name(code) in n][:3]
    exceptions = {name.upper(): name for name in EXCEPTIONS}
    return tuple(exceptions.get(name, name) for name in found)
