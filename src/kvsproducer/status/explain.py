"""The function `explain`, which returns all texts about one status, for a terminal or as JSON.

The first use of `kvsproducer.explain` imports this module and reads the catalogue of texts.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvsproducer.status.catalogue import Entry, find, parse_number, suggest
from kvsproducer.status.codes import StatusCode
from kvsproducer.status.errors import BY_PLACE, error_class, kvs_error
from kvsproducer.status.service_errors import wire_names

__all__ = ["Explanation", "explain", "lookup"]

_WIDTH = 80
_PAGES = "reference/status"  # of the documentation site


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one status. `str()` returns text for a terminal, `as_dict()` a dict."""

    entry: Entry

    @property
    def exception(self) -> str:
        """Names of the exception classes that can have the status, the usual one first.

        For example `InvalidConfiguration or InvalidFrame`.
        """
        status = self.entry.status
        classes = (error_class(status), *BY_PLACE.get(status, ()))
        return " or ".join(cls.__name__ for cls in classes)

    @property
    def test(self) -> str | None:
        """The pytest id of the test that provokes the status, or None if nothing raises it."""
        return self.entry.test

    @property
    def page(self) -> str:
        """Path of the status's page in the documentation."""
        return f"{_PAGES}/{self.entry.status.hex}"

    def as_dict(self) -> dict[str, str | int | bool | list[str] | None]:
        """Return all fields as a dict for JSON. The keys are the same for every status.

        `value` is a number; `hex` and `printed` are hexadecimal text. `wire` lists the names that
        the service uses: errors in acks, and exceptions.
        """
        item = self.entry
        return {
            "name": item.name,
            "header_name": item.header_name,
            "value": int(item.status),
            "hex": item.status.hex,
            "printed": None if item.printed is None else f"0x{item.printed:08x}",
            "misprinted": item.misprinted,
            "library": item.section,
            "exception": self.exception,
            "message": item.message,
            "description": item.description,
            "condition": item.condition,
            "action": item.action,
            "wire": list(wire_names(item.status)),
            "page": self.page,
            "test": self.test,
        }

    def __str__(self) -> str:
        import textwrap

        item = self.entry
        lines = [f"{item.name}  {item.status.hex}"]
        if item.misprinted:
            lines.append(
                f"  printed as  0x{item.printed:08x} in the Error Code Reference, a misprint"
            )
        elif item.printed is None:
            lines.append("  printed as  not in the Error Code Reference, only in AWS's headers")
        if item.header_name != item.name:
            lines.append(f"  spelt       {item.header_name} in AWS's header")
        lines.append(f"  library     {item.section}")
        for title, text in (
            ("exception", "" if item.status is StatusCode.SUCCESS else self.exception),
            ("the service", ", ".join(wire_names(item.status))),
            ("meaning", item.description),
            ("cause here", item.condition),
            ("what to do", item.action),
        ):
            lines += textwrap.wrap(
                text,
                _WIDTH,
                initial_indent=f"  {title:<12}",
                subsequent_indent=" " * 14,
                break_on_hyphens=False,
            )
        lines.append(f"  see         {self.page} in the documentation")
        if self.test is not None:
            lines.append(f"  test        {self.test.rpartition('::')[2]}")
        return "\n".join(lines)


def explain(code_or_name: int | str) -> Explanation:
    """Return the explanation of a status. To print it: `print(kvs.explain("0x5200000e"))`.

    `code_or_name` is a name in any spelling, or a value from AWS's headers or the Error Code
    Reference. For an unknown code, raises InvalidConfiguration (NOT_FOUND) with suggestions. For
    any type other than int or str, raises INVALID_ARG.
    """
    return Explanation(lookup(code_or_name))


def lookup(code: int | str) -> Entry:
    """Return the catalogue's entry for a number or a name.

    A number is the value in AWS's headers, the value that the reference prints, or the ErrorId of
    an ERROR ack. A text is such a number in decimal or hexadecimal (with or without 0x), or a name.

    These names are accepted, in upper or lower case: the status's name with or without STATUS_ (in
    the reference's spelling or the header's), an ack's ErrorCode, and the name of a service
    exception such as ResourceNotFoundException. For any other number or text, raises
    InvalidConfiguration (NOT_FOUND) with suggestions.
    """
    if not isinstance(code, int | str):
        raise kvs_error(
            StatusCode.INVALID_ARG, f"a status code is an int or a str, not {code!r:.60}"
        )
    found = find(code)
    if found is None:
        shown = hex(code) if isinstance(code, int) else repr(code)
        raise kvs_error(StatusCode.NOT_FOUND, f"no status has the code {shown}{_suggestions(code)}")
    return found


def _suggestions(code: int | str) -> str:
    found = suggest(code)
    if not found:
        return ": give a value or a name, such as 0x5200000e, 1375731726 or INVALID_STREAM_STATE"
    if parse_number(code) is not None:
        return f"; the nearest are {' and '.join(found)}"
    return f"; did you mean {' or '.join(found)}?"
