"""The texts for each status code, and functions that find a status by number or name.

The file `catalogue.tsv` has one line for each status: its value, its names, its library, what it
means (`description`), what raises it in this package (`condition`) and what the user can do about
it (`action`). The texts were written for this package. The table has all codes of AWS's Error Code
Reference, and also the codes that only AWS's headers have.

The file is read on first use and then kept in memory. Importing the package does not read it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final, NamedTuple

from kvsproducer.status.codes import StatusCode
from kvsproducer.status.service_errors import ACK_ERRORS, EXCEPTIONS

__all__ = ["Entry", "entries", "entry", "find", "parse_number", "suggest"]

REFERENCE_CODES: Final = 233
"""Number of codes in AWS's Error Code Reference."""

_NOT_RAISED: Final = "Not raised"  # `condition` of a status that nothing raises begins with this
_TESTS: Final = "tests/test_status_codes.py::test_provoked"  # in the project's repository


class Entry(NamedTuple):
    """The texts and names of one status."""

    status: StatusCode
    name: str  # as in the reference, such as "STATUS_INVALID_STREAM_STATE"
    header_name: str  # as in AWS's header; differs from `name` for three statuses
    printed: int | None  # the value in the reference, even if misprinted; None: not in it
    section: str  # the library: "Client", "Common", "C Producer" ...
    description: str  # what the status means
    condition: str  # what raises it in this package, or "Not raised" and the reason
    action: str  # what a user does about it; "" if there is nothing to do

    @property
    def message(self) -> str:
        """The text of the "Message" column of the reference: the name of the status."""
        return self.name

    @property
    def raised(self) -> bool:
        """Whether this package raises or reports the status. If not, `condition` says why."""
        return not self.condition.startswith(_NOT_RAISED)

    @property
    def test(self) -> str | None:
        """The pytest id of the test that provokes the status, or None if nothing raises it."""
        return f"{_TESTS}[{self.status.name}]" if self.raised else None

    @property
    def misprinted(self) -> bool:
        """Whether the reference prints a value that differs from the value in AWS's headers."""
        return self.printed is not None and self.printed != self.status


@cache
def _table() -> dict[StatusCode, Entry]:
    """Read `catalogue.tsv`."""
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
    """Map numbers to entries: values of statuses, ids of ERROR acks, and misprinted values.

    If a misprinted value is also the correct value of another status, the correct value counts."""
    table = {e.printed: e for e in entries() if e.printed is not None}
    table |= {error_id: entry(error.status) for error_id, error in ACK_ERRORS.items()}
    return table | {int(e.status): e for e in entries()}


@cache
def _by_name() -> dict[str, Entry]:
    """Map upper-case names to entries: the statuses' names, and the service's names for errors.

    A status is listed with and without the prefix STATUS_.
    """
    table = {name.upper(): entry(status) for name, status in EXCEPTIONS.items()}
    for error in ACK_ERRORS.values():
        table[error.name] = entry(error.status)
    for item in entries():
        for name in (item.name, item.header_name):
            table[name] = table[name.removeprefix("STATUS_")] = item
    return table


def entries() -> tuple[Entry, ...]:
    """Return the entries of all statuses, in ascending order of value."""
    return tuple(_table().values())


def entry(status: StatusCode) -> Entry:
    """Return the entry of a status."""
    return _table()[status]


def find(code: int | str) -> Entry | None:
    """Return the entry for a number or a text, or None. See `explain.lookup` for accepted forms."""
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


def parse_number(code: int | str) -> int | None:
    """Return `code` as a number, or None if it is a name. Hexadecimal text must begin with 0x."""
    if isinstance(code, int):
        return code
    try:
        return int(code.strip(), 0)
    except ValueError:
        return None


def suggest(code: int | str) -> tuple[str, ...]:
    """Return up to three known codes that are similar to an unknown one, best match first.

    For a name, the result has names without STATUS_; for a number, values in hexadecimal.
    """
    import difflib  # rarely needed, so it is not imported with the package

    meant = parse_number(code)
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
