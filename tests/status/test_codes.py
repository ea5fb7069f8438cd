"""Tests of StatusCode: values of AWS's headers, names of the Error Code Reference."""

from __future__ import annotations

from kvsproducer.status import StatusCode


def test_every_name_of_the_reference_is_a_status(reference: list[tuple[str, str]]) -> None:
    """Each of the 233 names is an attribute of StatusCode."""
    assert len(reference) == 233
    for _, name in reference:
        assert name.removeprefix("STATUS_") in StatusCode.__members__


def test_values_are_those_of_the_headers_where_the_reference_is_misprinted() -> None:
    """The reference prints heap codes with a zero too few, nine C producer codes with one more."""
    assert StatusCode.HEAP_FLAGS_ERROR == 0x10000001
    assert StatusCode.HEAP_VRAM_UNINIT_FAILED == 0x10000014
    assert StatusCode.HMAC_GENERATION_ERROR == 0x15000010
    assert StatusCode.IOT_EXPIRATION_PARSING_FAILED == 0x15000018


def test_correctly_printed_values_are_the_reference_ones(reference: list[tuple[str, str]]) -> None:
    """All values but the 29 misprinted ones are exactly as printed."""
    wrong = [
        name
        for printed, name in reference
        if int(printed, 16) != StatusCode[name.removeprefix("STATUS_")]
    ]
    assert len(wrong) == 29
    heap = [name for name in wrong if name.startswith("STATUS_HEAP_")]
    assert len(heap) == 20


def test_header_spellings_are_aliases() -> None:
    """The two names that AWS's header misspells are aliases of the correct ones."""
    assert StatusCode.SERVICE_CALL_UNKOWN_ERROR is StatusCode.SERVICE_CALL_UNKNOWN_ERROR
    assert (
        StatusCode.SERVICE_CALL_DEVICE_NOT_FOND_ERROR
        is StatusCode.SERVICE_CALL_DEVICE_NOT_FOUND_ERROR
    )


def test_hex_has_the_format_of_aws() -> None:
    """`hex` has eight lower-case digits."""
    assert StatusCode.NULL_ARG.hex == "0x00000001"
    assert StatusCode.INVALID_STREAM_STATE.hex == "0x5200000e"
    assert StatusCode.INVALID_DURATION_VALUE.hex == "0xffffffffffffffff"
