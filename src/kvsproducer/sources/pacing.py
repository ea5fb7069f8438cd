"""Real-time pacing: put the frames of a recording at the pace at which they were recorded.

The clock (monotonic, in ticks) and the sleep function (seconds) are arguments. No timestamp is
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kvsproducer.client.frame import Frame
from kvsproducer.duration import TICKS_PER_SECOND

__all__ = ["pace"]


def pace(
    frames: Iterable[Frame], clock: Callable[[], int], sleep: Callable[[float], object]
) -> Iterator[Frame]:
    """Wait until each frame is due by its dts, counted from the first frame, and yield it.

    A late frame is yielded at once. It does not delay the frames after it. The clock must be
    monotonic, because the wall clock may be set.
    """
    first: int | None = None
    started = 0
    for frame in frames:
        if first is None:
            first, started = frame.dts, clock()
        wait = frame.dts - first - (clock() - started)
        if wait > 0:
            sleep(wait / TICKS_PER_SECOND)
        yield frame
