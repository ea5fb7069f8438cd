"""Fragment numbers."""

from __future__ import annotations

from kvsproducer.endpoint.fragment import FragmentNumbers


def test_numbers_have_47_digits_and_the_prefix_of_the_service() -> None:
    number = FragmentNumbers().next(17_953_771_841_770_000)
    assert len(number) == 47
    assert number.startswith("9134385233318")


def test_numbers_grow_within_a_tick_and_after_a_clock_step_back() -> None:
    numbers = FragmentNumbers()
    given = [numbers.next(now) for now in (1000, 1000, 1000, 5, 2000)]
    assert given == sorted(set(given))


def test_numbers_grow_across_a_restart() -> None:
    last = FragmentNumbers().next(1000)
    assert FragmentNumbers(last).next(5) > last
