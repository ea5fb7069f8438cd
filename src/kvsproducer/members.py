"""Check the types of the members of frozen dataclasses that users create.

Python does not check types at run time, so a value of a wrong type would fail far from its cause.
`check_members` raises when the structure is created, and names the member.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Final

from kvsproducer.status import StatusCode, kvs_error

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["check_members"]

# What a member may be, by the type of its default, and what to give.
_KINDS: Final[dict[type, tuple[tuple[type, ...], str]]] = {
    bool: ((bool,), "True or False"),
    int: ((int,), "an int"),
    float: ((int, float), "a number"),
    str: ((str,), "a str"),
}


def check_members(structure: DataclassInstance, **kinds: type) -> None:
    """Raise INVALID_ARG for the first member whose type differs from the type of its default.

    A member is checked if its default is a bool, int, float or str, or if its `default_factory` is
    a dataclass. `kinds` gives the types of members without such a default. A bool is not accepted
    for an int, nor an int for a bool.
    """
    for each in fields(structure):
        kind = kinds.get(each.name)
        if kind is None:
            made = each.default_factory
            kind = (
                type(each.default) if made is MISSING else made if isinstance(made, type) else None
            )
        value = getattr(structure, each.name)
        if kind in _KINDS:
            right, form = _KINDS[kind]
        elif kind is not None and hasattr(kind, "__dataclass_fields__"):
            right, form = (kind,), f"an instance of {kind.__name__}"
        else:
            continue
        if not isinstance(value, right) or (isinstance(value, bool) and kind is not bool):
            owner, given = type(structure).__name__, type(value).__name__
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"{owner}.{each.name} is {value!r:.60} ({given}); give {form}",
            )
