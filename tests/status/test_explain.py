"""Tests of `explain`, whose text `kvs explain` prints."""

from __future__ import annotations

import json

import pytest

from kvsproducer.status import InvalidConfiguration, StatusCode
from kvsproducer.status.explain import explain


def test_text_has_everything_a_user_needs() -> None:
    """It has name, value, misprint, library, exception, meaning, cause and action."""
    text = str(explain("0x01000003"))
    assert text.splitlines()[0] == "STATUS_HEAP_CORRUPTED  0x10000003"
    for part in (
        "printed as  0x01000003",
        "library     Heap",
        "exception   StorageError",
        "meaning",
        "cause here",
    ):
        assert part in text
    assert "what to do" in text


@pytest.mark.parametrize("status", StatusCode)
def test_every_explanation_fits_a_terminal(status: StatusCode) -> None:
    """Lines have at most 80 columns and no trailing blanks, and there are at most 24 of them."""
    lines = str(explain(status)).splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines)


@pytest.mark.parametrize("status", StatusCode)
def test_json_has_the_same_fields_for_every_code(status: StatusCode) -> None:
    """The keys are the same for every status, and each value in the fields finds the status."""
    fields = json.loads(json.dumps(explain(status).as_dict()))
    assert fields.keys() == explain(0).as_dict().keys()
    assert fields["value"] == status
    for key in ("hex", "name", "header_name", "printed"):
        if fields[key] is not None:
            assert explain(fields[key]).as_dict() == fields


def test_header_spelling_and_origin_are_shown() -> None:
    """The text notes another spelling in the header, and a code that the reference lacks."""
    assert "STATUS_SERVICE_CALL_DEVICE_NOT_FOND_ERROR in AWS's header" in str(explain("0x52000015"))
    assert "not in the Error Code Reference" in str(explain("0x5200008c"))
    assert "not in the Error Code Reference" not in str(explain("0x5200000e"))


def test_exception_names_the_classes_to_catch() -> None:
    """The usual class, and those that carry the status in other places."""
    assert explain("MKV_INVALID_TRACK_UID").exception == "InvalidConfiguration"
    assert explain("READ_FILE_FAILED").exception == "StorageError or InvalidMedia"
    assert explain("HEAP_CORRUPTED").exception == "StorageError"


def test_unknown_code_is_refused_with_its_own_status() -> None:
    """NOT_FOUND, so that the command can say so and exit 1; a ValueError for Python."""
    with pytest.raises(ValueError, match="no such code") as caught:
        explain("no such code")
    assert isinstance(caught.value, InvalidConfiguration)
