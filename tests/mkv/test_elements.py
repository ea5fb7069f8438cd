"""Tests of the table of Matroska elements."""

from kvsproducer.mkv import elements as el
from kvsproducer.mkv.ebml import NUMBER_WIDTHS, id_bytes


def test_every_id_has_its_marker() -> None:
    """The first byte of an id determines its length, as RFC 8794 section 5 requires."""
    for element_id in el.ELEMENTS:
        encoded = id_bytes(element_id)
        assert NUMBER_WIDTHS[encoded[0]] == len(encoded)


def test_every_parent_is_a_master() -> None:
    for row in el.ELEMENTS.values():
        if row.parent not in (el.ROOT, el.ANYWHERE):
            assert el.ELEMENTS[row.parent].type is el.ElementType.MASTER


def test_names_are_unique_and_unknown_ids_show_in_hex() -> None:
    names = [row.name for row in el.ELEMENTS.values()]
    assert len(set(names)) == len(names)
    assert el.element_name(el.SIMPLE_BLOCK) == "SimpleBlock"
    assert el.element_name(0x4FFF) == "0x4FFF"
