"""The metadata queue: names, limits, persistence, events."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvsproducer.client.metadata import EventType, MetadataQueue
from kvsproducer.status import KvsError, StatusCode

_S = StatusCode


def test_persistent_items_repeat_and_can_be_cleared() -> None:
    """The others are written once."""
    queue = MetadataQueue()
    queue.put("a", "1", persistent=True)
    queue.put("b", "2", persistent=False)
    assert queue.pending(only_new=True) == queue.pending(only_new=False)
    queue.written()
    assert queue.pending(only_new=True) == b""
    assert b"a" in queue.pending(only_new=False)
    queue.put("a", "", persistent=True)
    assert not queue


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (lambda q: q.put("AWS_X", "v", False), _S.INVALID_METADATA_NAME),
        (lambda q: q.put("", "v", False), _S.MKV_INVALID_TAG_NAME_LENGTH),
        (lambda q: q.put("n", "v" * 257, False), _S.MKV_INVALID_TAG_VALUE_LENGTH),
        (lambda q: q.put_event(0), _S.INVALID_ARG),
        (lambda q: q.put_event(4), _S.INVALID_ARG),
        (lambda q: q.put_event(1, "p" * 257), _S.INVALID_IMAGE_PREFIX_LENGTH),
        (lambda q: q.put_event(1, "AWS"), _S.INVALID_METADATA_NAME),
        (lambda q: q.put_event(2, "", [("k", "v")] * 11), _S.INVALID_ARG),
        (lambda q: q.put_event(2, "", [("k" * 129, "")]), _S.INVALID_IMAGE_METADATA_KEY_LENGTH),
        (lambda q: q.put_event(2, "", [("k", "v" * 257)]), _S.INVALID_IMAGE_METADATA_VALUE_LENGTH),
    ],
)
def test_each_limit_has_its_status(
    action: Callable[[MetadataQueue], None], status: StatusCode
) -> None:
    """And nothing is queued."""
    queue = MetadataQueue()
    with pytest.raises(KvsError) as caught:
        action(queue)
    assert caught.value.status is status
    assert not queue


def test_at_most_25_items() -> None:
    """An event counts with its pairs."""
    queue = MetadataQueue()
    for index in range(23):
        queue.put(f"n{index}", "v", persistent=False)
    with pytest.raises(KvsError) as caught:
        queue.put_event(EventType.NOTIFICATION, "", [("a", "b"), ("c", "d")])
    assert caught.value.status is _S.MAX_FRAGMENT_METADATA_COUNT
    queue.put_event(EventType.NOTIFICATION, "", [("a", "b")])
