"""The operating system's words, without its numbers."""

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
def test_an_error_is_told_in_words(error: BaseException, words: str | None) -> None:
    """No number, no path twice, never nothing."""
    assert in_words(error) == (words or "it said: Address already in use")


def test_a_failed_system_call_is_told_in_words() -> None:
    """As the system really raises it."""
    with pytest.raises(OSError, match="Errno") as caught:
        open("/nowhere/at/all", "rb")  # noqa: SIM115
    assert in_words(caught.value) == "No such file or directory"
    assert without_numbers(caught.value) == "No such file or directory: '/nowhere/at/all'"
