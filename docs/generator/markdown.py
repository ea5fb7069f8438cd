"""Pieces of Markdown that several generated pages use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["cell", "table"]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; cells are Markdown already, except for vertical bars."""
    return [
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
        *(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |" for row in rows),
    ]


def cell(text: str) -> str:
    """Return plain text as Markdown that shows it unchanged (bars are left to `table`)."""
    for char in "\\*_<>[]`":
        text = text.replace(char, "\\" + char)
    return text
