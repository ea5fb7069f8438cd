"""The number of Python calls for a frame and for a fragment's acks, from the put to the listener.

They are counted, not timed, so that the figure is the same on every machine. When a bound fails,
`python -m benchmarks.bench_calls` lists the calls by function.
"""

from __future__ import annotations

from benchmarks.bench_calls import count, total


def test_calls_for_a_frame_and_for_acks_stay_few() -> None:
    """For a frame from put to upload, and for a fragment with its three acks until its events."""
    delta, fragment = count()
    assert 5 < total(delta, "put", "wire") < 30, delta
    # Four events: three acks, and FragmentStored, which takes about 19 calls.
    assert 50 < total(fragment, "wire") <= 170, fragment
