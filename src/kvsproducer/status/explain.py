"""`explain`: everything about one status, for a person or as JSON.

The package exports it, so the catalogue is imported only when a status is explained.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvsproducer.status.catalogue import Entry, find, near, number
from kvsproducer.status.codes import StatusCode
from kvsproducer.status.errors import builtin_class, kvs_error, library_class
from kvsproducer.status.service_errors import wire_names

__all__ = ["Explanation", "explain", "lookup"]

_WIDTH = 80
_PAGE = "docs/reference/status-codes.md"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A catalogue entry that prints itself; `str()` is for a terminal, `as_dict()` for JSON."""

    entry: Entry

    @property
    def exception(self) -> str:
        """The exception that carries the status, such as `ClientError and ValueError`."""
        library = library_class(self.entry.status).__name__
        builtin = builtin_class(self.entry.status)
        return f"{library} and {builtin.__name__}" if builtin else library

    @property
    def test(self) -> str | None:
        """The test that provokes the status, as pytest takes it; None when nothing raises it."""
        return self.entry.test

    @property
    def page(self) -> str:
        """Where the status stands in the project's documentation."""
        return f"{_PAGE}#{self.entry.anchor}"

    def as_dict(self) -> dict[str, str | int | bool | list[str] | None]:
        """All fields under fixed names; values in hexadecimal are text, `value` is a number.

        `wire` lists what the service calls it: the error of an ack, or names of exceptions.
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
        if item.status is not StatusCode.SUCCESS:
            lines.append(f"  exception   {self.exception}")
        for title, text in (
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
        lines.append(f"  see         {self.page}")
        if self.test is not None:
            lines.append(f"  test        {self.test.rpartition('::')[2]}")
        return "\n".join(lines)


def explain(code_or_name: int | str) -> Explanation:
    """Explain a status: `print(kvs.explain("0x5200000e"))`.

    Takes what `lookup` takes: a value, correct or as printed, or a name in any spelling.
    Raises NOT_FOUND (also a `LookupError`), with suggestions, for what is unknown.
    """
    return Explanation(lookup(code_or_name))


def lookup(code: int | str) -> Entry:
    """The status that is meant by a number or a text, as printed anywhere.

    A number is the correct value, the one that the reference prints, or the ErrorId of an ERROR
    ack. A text is such a number in decimal or in hexadecimal (with or without 0x), or a name in any
    case, with or without STATUS_, spelt as in the reference or as in AWS's header, or the
    service's: an ack's ErrorCode or an exception such as ResourceNotFoundException. Raises
    NOT_FOUND (also a `LookupError`) with suggestions for anything else.
    """
    found = find(code)
    if found is None:
        shown = hex(code) if isinstance(code, int) else repr(code)
        raise kvs_error(StatusCode.NOT_FOUND, f"no status is known as {shown}{_suggestions(code)}")
    return found


def _suggestions(code: int | str) -> str:
    found = near(code)
    if not found:
        return ": write 0x5200000e, 1375731726 or INVALID_STREAM_STATE, say"
    if number(code) is not None:
        return f"; the nearest are {' and '.join(found)}"
    return f"; did you mean {' or '.join(found)}?"
