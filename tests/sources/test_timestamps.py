"""Times of one track: what is derived, what is repaired, what is refused."""

from __future__ import annotations

import pytest

from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack
from kvsproducer.sources.timestamps import TrackTimes
from kvsproducer.status import KvsError, StatusCode

PLAIN = MediaTrack(Kind.VIDEO, "h264", rate=25.0)
REORDERED = MediaTrack(Kind.VIDEO, "h264", rate=25.0, reordered=True)
Times = list[tuple[int | None, int | None]]


def run(track: MediaTrack, times: Times, corrupt: int = -1) -> tuple[Times, int]:
    """(pts, dts) in ms in and out, and the number of repairs."""
    repairer, out = TrackTimes(track), []
    for number, (pts, dts) in enumerate(times):
        packet = MediaPacket(
            track.kind,
            b"x",
            None if pts is None else pts * TICKS_PER_MS,
            None if dts is None else dts * TICKS_PER_MS,
            40 * TICKS_PER_MS,
            number == 0,
            number,
            number == corrupt,
        )
        out += repairer.push(packet)
    out += repairer.flush()
    ms = [(p.pts // TICKS_PER_MS, p.dts // TICKS_PER_MS) for p in out if p.pts is not None
          and p.dts is not None]  # fmt: skip
    return ms, repairer.repairs


@pytest.mark.parametrize(
    ("what", "track", "given", "taken", "repairs"),
    [
        ("good times stay", PLAIN, [(0, 0), (40, 40)], [(0, 0), (40, 40)], 0),
        ("no dts: pts", PLAIN, [(0, None), (40, None)], [(0, 0), (40, 40)], 0),
        ("no pts: dts", PLAIN, [(None, 0), (None, 40)], [(0, 0), (40, 40)], 2),
        ("a hole is filled", PLAIN, [(0, 0), (None, None), (80, 80)],
         [(0, 0), (40, 40), (80, 80)], 1),
        ("a repeated time moves on", PLAIN, [(0, 0), (40, 40), (40, 40), (80, 80)],
         [(0, 0), (40, 40), (41, 40), (80, 80)], 1),
        ("Matroska's first dts", REORDERED,
         [(0, None), (120, None), (40, 0), (80, 40), (240, 80)],
         [(0, -80), (120, -40), (40, 0), (80, 40), (240, 80)], 0),
        ("no dts at all", REORDERED, [(0, None), (120, None), (40, None), (80, None)],
         [(0, -120), (120, -80), (40, -40), (80, 0)], 0),
        ("a dts a little back", REORDERED, [(0, -80), (120, -40), (40, -50), (80, 40)],
         [(0, -80), (120, -40), (40, -40), (80, 40)], 1),
    ],
)  # fmt: skip
def test_times(what: str, track: MediaTrack, given: Times, taken: Times, repairs: int) -> None:
    """What follows from the neighbours is derived, and derived times are counted."""
    assert run(track, given) == (taken, repairs), what


@pytest.mark.parametrize(
    ("what", "track", "given", "said"),
    [
        ("jump back", PLAIN, [(0, 0), (9960, 9960), (1000, 1000)], "frame 2 goes back"),
        ("jump back", REORDERED, [(0, -80), (9960, 9880), (1000, 1000)], "frame 2 goes back"),
        ("nothing known", PLAIN, [(None, None)], "frame 0 has no timestamp"),
        ("B-frames", REORDERED, [(0, -80), (None, -40)], "frame 1 has no presentation time"),
    ],
)
def test_times_that_cannot_be_put(what: str, track: MediaTrack, given: Times, said: str) -> None:
    """What cannot be derived is refused, naming the frame, its time and a remedy."""
    with pytest.raises(KvsError, match=said) as caught:
        run(track, given)
    assert caught.value.status is StatusCode.MKV_INVALID_FRAME_TIMESTAMP, what
    assert "ffmpeg" in caught.value.detail


def test_a_damaged_packet_is_refused() -> None:
    """A packet that the container calls damaged is never put."""
    with pytest.raises(KvsError, match=r"frame 1 at 0\.040 s is damaged") as caught:
        run(PLAIN, [(0, 0), (40, 40)], corrupt=1)
    assert caught.value.status is StatusCode.MKV_INVALID_FRAME_DATA
