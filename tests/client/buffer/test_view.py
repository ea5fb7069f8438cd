"""The content view: a moving window of items that finds fragments exactly."""

from __future__ import annotations

import pytest

from kvsproducer.client.buffer.view import (
    FRAGMENT_START,
    RECEIVED,
    STREAM_START,
    ContentView,
    ViewItem,
)
from kvsproducer.status import KvsError, StatusCode
from kvsproducer.status.catalogue import entries


def item(time: int, *, start: bool = False, session: bool = False, length: int = 10) -> ViewItem:
    flags = FRAGMENT_START if start or session else 0
    flags |= STREAM_START if session else 0
    return ViewItem(time, time, 100, flags, b"h", 0, (b"payload",), length, length + 5, time)


def filled(count: int, *, fragment: int = 5) -> ContentView:
    view = ContentView(1000, 10**9)
    for index in range(count):
        view.append(item(index * 100, start=index % fragment == 0))
    return view


def test_sizes_and_durations_follow_the_window() -> None:
    """Appending, taking, trimming and dropping keep the sums correct."""
    view = filled(12)
    assert (len(view), view.size_bytes, view.unsent_bytes) == (12, 120, 120)
    assert (view.window_duration, view.unsent_duration) == (1200, 1200)
    for _ in range(7):
        view.take()
    assert (view.unsent_bytes, view.unsent_duration) == (50, 500)
    assert view.trim(5) == 5 * 15
    assert (view.tail, view.size_bytes, view.window_duration) == (5, 70, 700)
    view.rewind(5)
    assert view.unsent_bytes == 70
    assert view.drop_tail().index == 5
    assert (view.current, view.unsent_bytes) == (6, 60)
    view.change_header(view[6], b"h" * 16, 15, 1)
    assert (view.size_bytes, view.unsent_bytes) == (75, 75)


def test_a_fragment_start_is_not_confused_with_the_end_of_the_one_before() -> None:
    """One frame ends exactly where the next begins (DEFECTS 1)."""
    view = filled(12)
    assert view.fragment_at(500) == 5
    assert view.fragment_at(501) is None
    assert view.item_at(499) == 4
    assert view.item_at(555) == 5
    assert view.item_at(1200) == 11
    assert view.item_at(1201) is None
    assert (view.next_start(1), view.next_start(11), view.start_of(9)) == (5, 12, 5)


def test_the_last_item_before_a_time_and_the_last_with_a_flag() -> None:
    """Of items with the same time the last is found; removed items are not found."""
    view = filled(12)
    view.append(item(1100))
    assert [view.last_before(dts, 13) for dts in (0, -5)] == [None, None]
    found = [view.last_before(dts, 13) for dts in (1, 100, 101, 1100, 1101)]
    assert [one and one.index for one in found] == [0, 0, 1, 10, 12]
    assert view.last_before(1101, 12) is view[11]
    view[3].flags |= RECEIVED
    view[7].flags |= RECEIVED
    assert [view.last_flagged(RECEIVED, end) for end in (13, 8, 7, 3)] == [
        view[7],
        view[7],
        view[3],
        None,
    ]
    for _ in range(12):
        view.take()
    view.trim(5)
    assert view.last_flagged(RECEIVED, 7) is None
    assert view.last_before(500, 13) is None
    assert view.last_before(501, 13) is view[5]


def test_fragments_with_the_same_time_are_distinguished_by_their_acks() -> None:
    """The oldest one without the flag is found."""
    view = ContentView(1000, 10**9)
    for _ in range(2):
        view.append(item(700, start=True))
    assert view.fragment_at(700, lacking=RECEIVED) == 0
    view[0].flags |= RECEIVED
    assert view.fragment_at(700, lacking=RECEIVED) == 1


def test_a_view_is_full_by_count_or_by_duration() -> None:
    """Either limit is enough."""
    view = ContentView(11, 10**9)
    for index in range(11):
        assert not view.full
        view.append(item(index * 100))
    assert view.full
    long = ContentView(1000, 250)
    long.append(item(0))
    long.append(item(100))
    assert not long.full
    long.append(item(200))
    assert long.full


MISUSES = [
    (lambda view: view.append(item(0)), StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP),
    (lambda view: view.append(item(9000, length=0)), StatusCode.INVALID_CONTENT_VIEW_LENGTH),
    (lambda view: view[12], StatusCode.CONTENT_VIEW_INVALID_INDEX),
    (lambda view: view.rewind(13), StatusCode.CONTENT_VIEW_INVALID_INDEX),
    (lambda _: ContentView(1000, 1).drop_tail(), StatusCode.CONTENT_VIEW_NO_MORE_ITEMS),
    (lambda _: ContentView(10, 1), StatusCode.MIN_CONTENT_VIEW_ITEMS),
    (lambda _: ContentView(11, 0), StatusCode.INVALID_CONTENT_VIEW_DURATION),
]


def test_every_status_of_the_view_is_tested() -> None:
    """The catalogue has six."""
    codes = {entry.status for entry in entries() if entry.status >> 24 == 0x30}
    assert len(codes) == 6
    assert codes == {status for _, status in MISUSES}


@pytest.mark.parametrize(("action", "status"), MISUSES)
def test_each_misuse_has_its_status(action: object, status: StatusCode) -> None:
    """The view does not change."""
    view = filled(12)
    with pytest.raises(KvsError) as caught:
        action(view)  # type: ignore[operator]
    assert caught.value.status is status
    assert (len(view), view.size_bytes) == (12, 120)


def test_take_returns_none_at_the_head() -> None:
    """The reader waits there for the next item."""
    view = filled(1)
    assert view.take() is view[0]
    assert view.take() is None


def test_fragments_with_the_same_time_leave_one_by_one() -> None:
    """The others are still found; if all have the flag, the newest is returned."""
    view = ContentView(1000, 10**9)
    for _ in range(3):
        view.append(item(700, start=True))
        view.take()
    view.trim(1)
    assert view.fragment_at(700) == 1
    for index in (1, 2):
        view[index].flags |= RECEIVED
    assert view.fragment_at(700, lacking=RECEIVED) == 2


def test_an_empty_view_has_no_item_at_any_time() -> None:
    """Its duration is 0."""
    view = filled(1)
    view.take()
    view.trim(1)
    assert view.item_at(0) is None
    assert view.window_duration == 0


HOUR = 36_000_000_000


def test_a_jump_forward_does_not_count_as_media() -> None:
    """Durations and the search by media time leave it out."""
    view = filled(10)
    view.append(item(1000 + 2 * HOUR, start=True))
    view.append(item(1100 + 2 * HOUR))
    assert view.window_duration == 1200
    assert [view[index].skipped for index in (9, 10, 11)] == [0, 2 * HOUR, 2 * HOUR]
    assert view.media_between(8, 11) == 300
    for _ in range(9):
        view.take()
    assert view.unsent_duration == 300
    found = view.last_before(1050, view.head)
    assert found is view[10]
    view.trim(9)
    assert view.window_duration == 300
    assert view.unsent_duration == 300


def test_a_short_step_counts_as_a_jump_if_the_caller_says_so() -> None:
    """A step of a second may be a pause, or a clock that was set."""
    view = filled(2)
    view.append(item(10_000_000))
    assert view.window_duration == 10_000_100
    view.append(item(20_000_000), jump=True)
    assert view.window_duration == 10_000_200


def test_a_session_may_begin_at_an_earlier_time() -> None:
    """The service compares times within one connection; within a session no time may go back."""
    view = filled(10)
    with pytest.raises(KvsError) as caught:
        view.append(item(300, start=True))
    assert caught.value.status is StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP
    assert len(view) == 10
    view.append(item(300, session=True))
    view.append(item(400))
    view.append(item(500, start=True))
    assert view.window_duration == 1300
    assert [view[index].media_time for index in (9, 10, 11, 12)] == [900, 1000, 1100, 1200]
    assert view.fragment_at(500) == 5, "the oldest one"
    assert view.fragment_at(500, 0, 10, 12) == 12, "the one that the upload was given"
    assert view.fragment_within(450, 550, 0, 10, 12) == 12
    assert view.item_at(450, 0, 5) == 4
    assert view.item_at(450, 10, 12) == 11
    assert view.item_at(250, 10, 12) is None
    assert view.item_at(450, 20, 30) is None
    for _ in range(10):
        view.drop_tail()
    assert view.window_duration == 300
