"""Tests of the catalogue: it is complete and consistent, and finds a status by any spelling."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsproducer.status import InvalidConfiguration, KvsError, StatusCode
from kvsproducer.status.catalogue import REFERENCE_CODES, entries, entry
from kvsproducer.status.explain import lookup

FORBIDDEN = ("Producer SDK Limits", "TODO", "codec private beta", "\\")


def test_every_status_has_an_entry_with_all_texts() -> None:
    """Every status has a meaning and a cause; every status that is raised has an action."""
    assert [e.status for e in entries()] == sorted(StatusCode)
    for e in entries():
        texts = [e.description, e.condition] + ([e.action] if e.raised or e.action else [])
        for text in texts:
            assert re.search(r"[.)]$", text), (e.name, text)
            assert len(text) > 8, (e.name, text)
            assert not any(words in text for words in FORBIDDEN), (e.name, text)


def test_names_follow_the_enumeration() -> None:
    """An entry's name is the enumeration's name with the prefix STATUS_."""
    for e in entries():
        prefix = "" if e.status is StatusCode.INVALID_DURATION_VALUE else "STATUS_"
        assert e.name == e.message == prefix + e.status.name


def test_all_codes_of_the_reference_are_found_by_each_spelling(
    reference: list[tuple[str, str]],
) -> None:
    """Each of the 233 codes is found by its printed value, its correct value and its name."""
    assert len({printed for printed, _ in reference}) == REFERENCE_CODES
    for printed, name in reference:
        status = StatusCode[name.removeprefix("STATUS_")]
        found = entry(status)
        assert found.printed == int(printed, 16)
        bare = name.removeprefix("STATUS_")
        spellings = (printed, printed.upper(), status.hex, str(int(status)), name, bare)
        for spelling in (*spellings, name.lower(), f"  {bare}\n", f"StatusCode.{bare}"):
            assert lookup(spelling) is found, spelling
        assert lookup(int(printed, 16)) is found
        assert lookup(int(status)) is found
        assert lookup(status) is found


def test_codes_outside_of_the_reference_are_marked(reference: list[tuple[str, str]]) -> None:
    """Codes that only the headers have are in the catalogue, without a printed value."""
    extra = [e for e in entries() if e.printed is None]
    assert len(extra) == len(entries()) - len(reference)
    assert lookup("0x5200008c").name == "STATUS_STREAM_NOT_STARTED"
    assert lookup("0x00000000").status is StatusCode.SUCCESS
    assert not any(e.misprinted for e in extra)


def test_misprints_are_marked() -> None:
    """The reference misprints 29 values: all heap codes and nine of the C producer."""
    misprinted = [e for e in entries() if e.misprinted]
    assert len(misprinted) == 29
    assert {e.section for e in misprinted} == {"Heap", "C Producer"}


def test_header_spellings_are_found() -> None:
    """Misspelt names of AWS's header, as they appear in logs of C programs, are found."""
    found = lookup("STATUS_SERVICE_CALL_UNKOWN_ERROR")
    assert found.status is StatusCode.SERVICE_CALL_UNKNOWN_ERROR
    assert found.header_name == "STATUS_SERVICE_CALL_UNKOWN_ERROR"
    assert (
        lookup("service_call_device_not_fond_error").name
        == "STATUS_SERVICE_CALL_DEVICE_NOT_FOUND_ERROR"
    )


def test_a_number_without_0x_is_decimal_if_possible() -> None:
    """Digits are read as decimal first, then as hexadecimal: logs print both."""
    assert lookup("1375731726").status is StatusCode.INVALID_STREAM_STATE
    assert lookup("5200000e").status is StatusCode.INVALID_STREAM_STATE
    assert lookup("15").status is StatusCode.OPERATION_TIMED_OUT
    assert lookup("0x15").status is StatusCode.THREAD_DEADLOCKED


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("INVALID_STREAM_STAT", "INVALID_STREAM_STATE"),
        ("status_store_out_of_memry", "STORE_OUT_OF_MEMORY"),
        ("invalid stream name", "INVALID_STREAM_NAME_LENGTH"),
        ("END_OF", "END_OF_STREAM"),
        ("0x52000fff", "the nearest are 0x520000"),
    ],
)
def test_an_unknown_name_gets_suggestions(text: str, suggestion: str) -> None:
    """The error for a misspelt name or a wrong number suggests similar codes."""
    with pytest.raises(InvalidConfiguration, match=suggestion) as caught:
        lookup(text)
    assert caught.value.status is StatusCode.NOT_FOUND


@pytest.mark.parametrize("code", [0x52000020, -1, 2**70, "0x52000020", "", "0x", "()", "zzz"])
def test_unknown_codes_raise_not_found(code: int | str) -> None:
    """Numbers between codes, and text that is not a code, raise NOT_FOUND."""
    with pytest.raises(KvsError) as caught:
        lookup(code)
    assert caught.value.status is StatusCode.NOT_FOUND


@given(st.text(max_size=60) | st.integers())
def test_lookup_finds_or_raises_not_found(code: int | str) -> None:
    """`lookup` returns a known status or raises NOT_FOUND for any input."""
    try:
        refused_with = None
        found = lookup(code)
        assert found.status in StatusCode
    except KvsError as error:
        refused_with = error.status
    assert refused_with in (None, StatusCode.NOT_FOUND)


def test_wrong_statements_of_the_reference_are_corrected() -> None:
    """Where AWS's reference contradicts AWS's code, our texts follow the code."""
    assert "may be empty" in lookup("MKV_INVALID_TAG_VALUE_LENGTH").description
    assert "10" in lookup("MAX_FRAGMENT_METADATA_COUNT").description
    assert "equal time is accepted" in lookup("CONTENT_VIEW_INVALID_TIMESTAMP").description
