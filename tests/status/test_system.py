"""Tests of the texts of operating system errors."""

import pytest

from kvsproducer.status.system import in_words, without_numbers


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "/x"), "No such file or directory"),
        (OSError("no certificate in that folder"), "no certificate in that folder"),
        (OSError(), "OSError"),
        (OSError(5, ""), "Input/output error"),
        (ValueError("embedded null byte"), "embedded null byte"),
        (RuntimeError("it said: [Errno 98] Address already in use"), None),
        (RuntimeError("two\nlines"), "two lines"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_reason_of_an_error(error: BaseException, words: str | None) -> None:
    """The text has no error number and no path, and is never empty."""
    assert in_words(error) == (words or "it said: Address already in use")


def test_reason_of_a_failed_system_call() -> None:
    """The same for an error that the operating system raises."""
    with pytest.raises(OSError, match="Errno") as caught:
        open("/nowhere/at/all", "rb")  # noqa: SIM115
    assert in_words(caught.value) == "No such file or directory"
    assert without_numbers(caught.value) == "No such file or directory: '/nowhere/at/all'"
