"""Realtime pacing: frames of a recording leave as a camera would have sent them.

The clock (monotonic, in ticks) and the sleep (seconds) are passed in. It changes no timestamp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kvsproducer.client.frame import Frame
from kvsproducer.duration import TICKS_PER_SECOND

__all__ = ["paced"]


def paced(
    frames: Iterable[Frame], clock: Callable[[], int], sleep: Callable[[float], object]
) -> Iterator[Frame]:
    """Yield `frames`, each when as much time has passed since the first as lies between their dts.

    A frame that is late leaves at once, and the ones after it keep to the first frame's start. The
    wall clock must not pace: it may be set meanwhile.
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
