"""GetMedia's selectors and cursor, over a store in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kvsproducer.endpoint.errors import ServiceError
from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.endpoint.get_media import GetMediaCursor, parse_start_selector
from kvsproducer.endpoint.members import Members
from kvsproducer.endpoint.store import Store, open_store
from kvsproducer.endpoint.streams import StreamRecord

ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/door/1"
RECORD = StreamRecord(name="door", arn=ARN, version="v1", created=1, retention_hours=1)
NOW = 100 * 10_000_000


@pytest.fixture
def store(fragment: Callable[[int], Fragment]) -> Iterator[Store]:
    opened = open_store(None)
    opened.save_stream(RECORD)
    for n in range(1, 6):
        opened.append(ARN, fragment(n)).result(10)
    yield opened
    opened.close()


def walk(store: Store, **selector: Any) -> list[int]:
    cursor = GetMediaCursor(
        store, lambda: RECORD, parse_start_selector(Members({"StartSelector": selector}))
    )
    found = iter(lambda: cursor.next_fragment(NOW), None)
    return [int(fragment.info.number) for fragment in found if fragment]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"StartSelectorType": "NOW"}, [5]),
        ({"StartSelectorType": "EARLIEST"}, [1, 2, 3, 4, 5]),
        ({"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": "2"}, [3, 4, 5]),
        ({"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": f"{4:047d}"}, [5]),
        ({"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": "9"}, []),
        ({"StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": 3.5}, [3, 4, 5]),
        ({"StartSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": 4}, [3, 4, 5]),
        ({"StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": 0}, [1, 2, 3, 4, 5]),
        ({"StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": 60}, []),
    ],
)
def test_where_each_selector_starts(
    store: Store, selector: dict[str, Any], expected: list[int]
) -> None:
    assert walk(store, **selector) == expected


def test_cursor_continues_with_later_fragments(
    store: Store, fragment: Callable[[int], Fragment]
) -> None:
    selector = parse_start_selector(Members({"StartSelector": {"StartSelectorType": "NOW"}}))
    cursor = GetMediaCursor(store, lambda: RECORD, selector)
    assert cursor.next_fragment(NOW) == fragment(5)
    assert cursor.next_fragment(NOW) is None
    store.append(ARN, fragment(6)).result(10)
    assert cursor.next_fragment(NOW) == fragment(6)


@pytest.mark.parametrize(
    "selector",
    [
        None,
        {},
        {"StartSelectorType": "LATER"},
        {"StartSelectorType": "FRAGMENT_NUMBER"},
        {"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": "x"},
        {"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": "9" * 48},
        {"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": "abc"},
        {"StartSelectorType": "SERVER_TIMESTAMP"},
        {"StartSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": "today"},
        {"StartSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": -1},
    ],
)
def test_invalid_selectors(selector: Any) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_start_selector(Members({"StartSelector": selector}))
    assert caught.value.name == "InvalidArgumentException"
