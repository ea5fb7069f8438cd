"""Real-time pacing with a clock that advances only in `sleep`."""

from __future__ import annotations

from kvsproducer.client.frame import Frame
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.pacing import pace


class Clock:
    """A clock that `sleep` and `spend` advance."""

    def __init__(self) -> None:
        self.now = 7 * TICKS_PER_SECOND

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * TICKS_PER_SECOND)


def frames(*times_ms: int) -> list[Frame]:
    return [Frame(b"x", (t + 80) * TICKS_PER_MS, dts=t * TICKS_PER_MS) for t in times_ms]


def test_frames_are_yielded_at_their_own_pace() -> None:
    """Each frame is yielded when the time between the dts has passed."""
    clock = Clock()
    left = [clock.now for _ in pace(frames(1000, 1040, 1040, 1200), clock, clock.sleep)]
    assert [(t - left[0]) // TICKS_PER_MS for t in left] == [0, 40, 40, 200]


def test_late_frame_is_yielded_at_once_and_the_rest_catches_up() -> None:
    """A stall does not delay the frames that follow."""
    clock, left = Clock(), []
    began = clock.now
    for number, _ in enumerate(pace(frames(0, 40, 80, 120), clock, clock.sleep)):
        left.append((clock.now - began) // TICKS_PER_MS)
        if number == 0:
            clock.sleep(0.1)
    assert left == [0, 100, 100, 120]
