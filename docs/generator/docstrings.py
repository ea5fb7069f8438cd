"""How docstrings of the package become tables of options on the pages of the reference.

Docstrings describe options as a paragraph of lines `name: text` or `name, name: text`, which reads
well in an editor. mkdocstrings knows Google's sections, so this extension of griffe writes such a
paragraph as a section "Attributes:" (of a class with those attributes) or "Args:".
"""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["OptionTables"]

_ENTRY = re.compile(r"([a-z_]+(?:, [a-z_]+)*): (.+)", re.DOTALL)


class OptionTables(griffe.Extension):
    """Rewrites the docstrings of classes and functions after griffe has read them."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None and (obj.is_class or obj.is_function):
            obj.docstring.value = with_sections(obj.docstring.value, set(obj.members))


def with_sections(text: str, attributes: set[str]) -> str:
    """Return a docstring in which a paragraph of options is one of Google's sections."""
    return "\n\n".join(_section(paragraph, attributes) for paragraph in text.split("\n\n"))


def _section(paragraph: str, attributes: set[str]) -> str:
    """Return a paragraph, as a section if every entry of it is `name: text`."""
    entries = re.split(r"\n(?! )", paragraph)
    found = [_ENTRY.fullmatch(entry) for entry in entries]
    if not all(found) or paragraph.startswith("    "):
        return paragraph
    lines: list[str] = []
    names: list[str] = []
    for match in found:
        assert match is not None
        body = " ".join(match[2].split())
        for name in match[1].split(", "):
            names.append(name)
            lines.append(f"    {name}: {body[0].upper()}{body[1:]}")
    heading = "Attributes:" if attributes & set(names) else "Args:"
    return "\n".join([heading, *lines])
