"""The times of one track: derived, repaired and refused ones."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack
from kvsproducer.sources.timestamps import Timeline, TrackTimes

PLAIN = MediaTrack(Kind.VIDEO, "h264", rate=25.0)
REORDERED = MediaTrack(Kind.VIDEO, "h264", rate=25.0, reordered=True)
Times = list[tuple[int | None, int | None]]


def run(track: MediaTrack, times: Times, timeline: Timeline | None = None) -> tuple[Times, int]:
    """Return (pts, dts) in ms for those given, and the number of repairs."""
    repairer, out = TrackTimes(track, timeline), []
    for number, (pts, dts) in enumerate(times):
        packet = MediaPacket(
            track.kind,
            b"x",
            None if pts is None else pts * TICKS_PER_MS,
            None if dts is None else dts * TICKS_PER_MS,
            40 * TICKS_PER_MS,
            number == 0,
            number,
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
    """Times that follow from their neighbours are derived and counted."""
    assert run(track, given) == (taken, repairs), what


FRAMES = [(40 * n, 40 * n) for n in range(20)]


def steps(times: Times) -> list[int]:
    return [(b[1] or 0) - (a[1] or 0) for a, b in pairwise(times)]


@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize("to", [-60_000, -9_000, -1_000, 36_000_000])
@pytest.mark.parametrize("at", [1, 10, 19])
def test_one_wrong_time_changes_no_other(to: int, at: int, gaps: bool) -> None:
    """Only the frame with the wrong time gets another one."""
    given = list(FRAMES)
    given[at] = (to, to)
    timeline = Timeline(gaps=gaps)
    times, _ = run(PLAIN, given, timeline)
    if at == 19 and gaps and to > 0:  # the last frame may really be that late
        assert times == given
        return
    assert times == FRAMES
    assert timeline.jumps == 1


@pytest.mark.parametrize("start", [-3_600_000, 0, 500, 15_000, 40_000_000])
def test_restarted_times_continue(start: int) -> None:
    """A joined recording follows the one before it, whatever its first time is."""
    timeline = Timeline(gaps=False)
    again = [(start + pts, start + dts) for pts, dts in FRAMES]
    times, repairs = run(PLAIN, [*FRAMES, *again, *again], timeline)
    assert times == [(40 * n, 40 * n) for n in range(60)]
    assert (timeline.jumps, repairs) == (2, 0)


def test_overflow_of_the_33_bit_counter() -> None:
    """MPEG-TS counts to 2^33 at 90 kHz, which is 26.5 hours."""
    wrap = (1 << 33) // 90
    given = [((wrap - 400 + 40 * n) % wrap, (wrap - 400 + 40 * n) % wrap) for n in range(20)]
    timeline = Timeline(gaps=False)
    times, repairs = run(PLAIN, given, timeline)
    assert set(steps(times)) == {40}
    assert (timeline.jumps, repairs) == (1, 0)


@pytest.mark.parametrize("reordered", [False, True])
@pytest.mark.parametrize("pause", [2_000, 15_000, 3_600_000])
def test_pause_in_a_recording_is_kept(pause: int, reordered: bool) -> None:
    """MP4 and Matroska have the time of each picture, also after an hour without motion."""
    later = [(pts + pause, dts + pause) for pts, dts in FRAMES]
    timeline = Timeline(gaps=True)
    given = [*FRAMES, *((pts + 800, dts + 800) for pts, dts in later)]
    assert run(REORDERED if reordered else PLAIN, given, timeline) == (given, 0)
    assert timeline.jumps == 0


@pytest.mark.parametrize("gaps", [True, False])
def test_one_picture_a_minute_is_not_a_jump(gaps: bool) -> None:
    """A time lapse keeps its times in every container."""
    track = MediaTrack(Kind.VIDEO, "h264", rate=1 / 60)
    given: Times = [(60_000 * n, 60_000 * n) for n in range(10)]
    timeline = Timeline(gaps=gaps)
    repairer, out = TrackTimes(track, timeline), []
    for pts, _ in given:
        assert pts is not None
        time = pts * TICKS_PER_MS
        out += repairer.push(MediaPacket(Kind.VIDEO, b"x", time, time, 0, True, len(out)))
    assert [(p.pts or 0) // TICKS_PER_MS for p in out] == [pts for pts, _ in given]
    assert timeline.jumps == 0


def test_sound_after_a_pause_matches_the_pictures() -> None:
    """The microphone was off for a minute. Its new time fits the other track."""
    timeline = Timeline(gaps=False)
    video = TrackTimes(PLAIN, timeline)
    audio = TrackTimes(MediaTrack(Kind.AUDIO, "aac", sample_rate=48_000), timeline)
    for second in range(61):
        time = second * TICKS_PER_SECOND
        video.push(MediaPacket(Kind.VIDEO, b"x", time, time, TICKS_PER_SECOND, True, second))
        if second in (0, 60):
            [sound] = audio.push(MediaPacket(Kind.AUDIO, b"x", time, time, 0, True, second))
            assert sound.pts == time
    assert timeline.jumps == 0


AUDIO_TRACKS = {
    "aac": (MediaTrack(Kind.AUDIO, "aac", sample_rate=16_000), b"x" * 100, 640_000),
    "he-aac": (
        MediaTrack(Kind.AUDIO, "aac", bytes.fromhex("2b8a0800"), sample_rate=44_100),
        b"x" * 100,
        1024 * TICKS_PER_SECOND // 22_050,
    ),
    "adts": (
        MediaTrack(Kind.AUDIO, "aac", sample_rate=48_000),
        bytes.fromhex("fff14c80057ffc"),
        1024 * TICKS_PER_SECOND // 48_000,
    ),
    "alaw": (
        MediaTrack(Kind.AUDIO, "pcm_alaw", sample_rate=8_000, channels=2),
        bytes(320),
        200_000,
    ),
}


@pytest.mark.parametrize("name", AUDIO_TRACKS)
@pytest.mark.parametrize("known", [0, 3, 9, 10])
def test_times_of_sound_follow_from_its_codec(name: str, known: int) -> None:
    """In MPEG-TS, several frames share one time. Frames before the first time are counted back."""
    track, data, duration = AUDIO_TRACKS[name]
    times, out = TrackTimes(track), []
    for number in range(10):
        at = 100 * TICKS_PER_SECOND + number * duration if number == known else None
        out += times.push(MediaPacket(Kind.AUDIO, data, at, at, 0, True, number))
    out += times.flush()
    start = 0 if known == 10 else 100 * TICKS_PER_SECOND
    assert [(p.pts, p.dts) for p in out] == [(start + n * duration,) * 2 for n in range(10)]
    assert times.repairs == (10 if known == 10 else 9)


def test_picture_without_a_display_position_is_marked() -> None:
    """With B-frames, a picture whose time cannot be derived is marked, and the rest continues."""
    times = TrackTimes(REORDERED)
    packets = [
        MediaPacket(Kind.VIDEO, b"x", 0, -800_000, 400_000, True, 0),
        MediaPacket(Kind.VIDEO, b"x", None, None, 400_000, False, 1),
        MediaPacket(Kind.VIDEO, b"x", 400_000, 0, 400_000, False, 2),
    ]
    out = [ready for packet in packets for ready in times.push(packet)]
    assert [p.corrupt for p in out] == [False, True, False]


def test_b_frames_that_begin_later_keep_their_times() -> None:
    """The second part of a joined source has B-frames, or an encoder enables them."""
    given: Times = [(0, 0), (40, 40), (80, 80), (240, 120), (160, 160), (200, 200), (360, 240)]
    assert run(PLAIN, given) == (given, 0)
    audio = MediaTrack(Kind.AUDIO, "aac", sample_rate=25_600)
    assert run(audio, [(0, 0), (80, 40), (60, 50)])[1] == 1
