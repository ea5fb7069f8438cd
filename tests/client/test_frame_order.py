"""The order of frames of several tracks, in each mode."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from kvsproducer.client.frame import Frame
from kvsproducer.client.frame_order import FrameOrderCoordinator
from kvsproducer.client.presets import audio_track, video_track
from kvsproducer.client.stream_info import FrameOrderMode
from kvsproducer.status import KvsError, StatusCode

MS = 10_000
VIDEO, AUDIO = 1, 2
MODES = [mode for mode in FrameOrderMode if mode is not FrameOrderMode.PASS_THROUGH]
NO_COMPARISON = FrameOrderMode.MULTI_TRACK_NO_COMPARISON
BY_DTS = [FrameOrderMode.DTS_ONE_MS_COMPENSATE, FrameOrderMode.DTS_ONE_MS_COMPENSATE_EOFR]
BY_PTS = [FrameOrderMode.PTS_ONE_MS_COMPENSATE, FrameOrderMode.PTS_ONE_MS_COMPENSATE_EOFR]


def coordinator(mode: FrameOrderMode, *tracks: int) -> FrameOrderCoordinator:
    infos = [
        video_track("h264")[0] if track == VIDEO else audio_track("aac", track)[0]
        for track in tracks or (VIDEO, AUDIO)
    ]
    return FrameOrderCoordinator(infos, mode, MS)


def frame(track: int, pts: int, dts: int | None = None, *, key: bool = False) -> Frame:
    dts = pts if dts is None else dts
    return Frame(b"data", pts * MS, dts=dts * MS, track_id=track, key_frame=key)


def summary(frames: Iterable[Frame]) -> list[tuple[int, int]]:
    return [(frame.track_id, frame.pts // MS) for frame in frames]


@pytest.mark.parametrize("mode", MODES)
def test_no_frame_goes_out_before_every_track_has_one(mode: FrameOrderMode) -> None:
    """A flush returns the rest."""
    order = coordinator(mode)
    order.put(frame(AUDIO, 0))
    order.put(frame(AUDIO, 10))
    assert summary(order.ready()) == []
    order.put(frame(VIDEO, 20))
    assert summary(order.ready()) == [(AUDIO, 0), (AUDIO, 10)]
    assert len(order) == 1
    assert summary(order.ready(flush=True)) == [(VIDEO, 20)]
    assert len(order) == 0


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (NO_COMPARISON, [(VIDEO, 40), (AUDIO, 20), (AUDIO, 30)]),
        *((mode, [(VIDEO, 40), (AUDIO, 20), (AUDIO, 30)]) for mode in BY_DTS),
        *((mode, [(AUDIO, 20), (AUDIO, 30), (VIDEO, 40)]) for mode in BY_PTS),
    ],
)
def test_which_times_are_compared(mode: FrameOrderMode, expected: list[tuple[int, int]]) -> None:
    """A picture decoded at 0 and shown at 40 is first by dts and last by pts."""
    order = coordinator(mode)
    order.put(frame(VIDEO, 40, 0))
    order.put(frame(AUDIO, 20))
    order.put(frame(AUDIO, 30))
    assert summary(order.ready(flush=True)) == expected


def test_without_comparison_frames_keep_the_order_of_the_puts() -> None:
    """Their times do not matter and do not change."""
    order = coordinator(NO_COMPARISON)
    for track, pts in ((AUDIO, 50), (VIDEO, 0), (AUDIO, 0), (VIDEO, 0)):
        order.put(frame(track, pts))
    assert summary(order.ready(flush=True)) == [
        (AUDIO, 50),
        (VIDEO, 0),
        (AUDIO, 0),
        (VIDEO, 0),
    ]


def test_frame_that_is_queued_later_keeps_its_place() -> None:
    """This also holds if another frame goes out instead of it."""
    order = coordinator(NO_COMPARISON)
    first, second, instead = (frame(VIDEO, pts) for pts in (90, 91, 10))
    order.reserve(first)
    order.put(frame(AUDIO, 5))
    order.reserve(second)
    order.put(frame(AUDIO, 15))
    order.replace(first, instead)
    order.put(instead)
    order.put(second)
    assert summary(order.ready(flush=True)) == [
        (VIDEO, 10),
        (AUDIO, 5),
        (VIDEO, 91),
        (AUDIO, 15),
    ]


def test_tracks_that_jump_join_the_newest_epoch() -> None:
    """A jump back begins a new epoch unless another track did; a jump ahead joins it."""
    order = coordinator(BY_DTS[0])
    order.put(frame(AUDIO, 100))
    order.join_epoch(AUDIO, back=True)
    order.put(frame(AUDIO, 40))
    order.join_epoch(VIDEO, back=True)
    order.put(frame(VIDEO, 10))
    assert summary(order.ready()) == [(AUDIO, 100), (VIDEO, 10)]
    assert order.last_epoch == 1
    order.join_epoch(AUDIO, back=True)
    order.put(frame(AUDIO, 0))
    order.join_epoch(VIDEO)
    order.put(frame(VIDEO, 50))
    assert summary(order.ready(flush=True)) == [(AUDIO, 40), (AUDIO, 0), (VIDEO, 50)]
    assert order.last_epoch == 2


@pytest.mark.parametrize("mode", [*BY_DTS, *BY_PTS])
@pytest.mark.parametrize("key", [False, True])
def test_a_tie_moves_one_frame_by_a_timecode_unit(mode: FrameOrderMode, key: bool) -> None:
    """The later track's frame moves, but a key frame goes first.

    The caller's frames do not change.
    """
    order = coordinator(mode, AUDIO, VIDEO)
    audio, video = frame(AUDIO, 5), frame(VIDEO, 5, key=key)
    order.put(audio)
    order.put(video)
    first, second = (VIDEO, AUDIO) if key else (AUDIO, VIDEO)
    assert summary(order.ready(flush=True)) == [(first, 5), (second, 6)]
    assert (audio.pts, video.pts) == (5 * MS, 5 * MS)


@pytest.mark.parametrize("mode", [*BY_DTS, *BY_PTS])
@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        # heard before the fragment starts, so it is in the one before
        (79, [(AUDIO, 79), (VIDEO, 100)]),
        (80, [(VIDEO, 100), (AUDIO, 81)]),  # same time as that start, so the sound is moved
        (90, [(VIDEO, 100), (AUDIO, 90)]),
    ],
)
def test_sound_is_compared_with_the_start_of_the_fragment_that_a_key_frame_begins(
    mode: FrameOrderMode, sound: int, expected: list[tuple[int, int]]
) -> None:
    """A picture decoded at 60 is shown at 100, after leading pictures from 80 on.

    Key flags of sound do not matter.
    """
    for key in (False, True):
        order = coordinator(mode, AUDIO, VIDEO)
        order.put(frame(AUDIO, sound, key=key))
        picture = Frame(
            b"data", 100 * MS, dts=60 * MS, track_id=VIDEO, key_frame=True, lead=20 * MS
        )
        order.put(picture)
        assert summary(order.ready(flush=True)) == expected


@pytest.mark.parametrize("mode", MODES)
def test_decode_times_never_decrease(mode: FrameOrderMode) -> None:
    """Each frame of groups I P B B with sound comes out, in the order of its decode time."""
    order, out = coordinator(mode), []
    shown = [(0, 2, True), (1, 5, False), (2, 3, False), (3, 4, False), (4, 6, True), (5, 9, False)]
    shown += [(6, 7, False), (7, 8, False)]
    sent = 0
    for dts, pts, key in shown:
        order.put(frame(VIDEO, 40 * pts, 40 * dts, key=key))
        while sent <= 40 * dts + 20:
            order.put(frame(AUDIO, sent, key=True))
            sent += 20
        out += order.ready()
    out += order.ready(flush=True)
    assert len(out) == len(shown) + sent // 20
    times = [each.dts for each in out]
    assert times == sorted(times)
    assert [each.pts for each in out if each.track_id == VIDEO] == [
        40 * MS * p for _, p, _ in shown
    ]
    if mode is not NO_COMPARISON:
        second = next(i for i, each in enumerate(out) if each.key_frame and each.pts == 240 * MS)
        assert all(each.pts >= 240 * MS for each in out[second:]), "none is before its fragment"


@pytest.mark.parametrize("mode", BY_PTS)
def test_times_within_a_timecode_unit_count_as_equal(
    mode: FrameOrderMode,
) -> None:
    """The later one is moved, because the file cannot hold the difference.

    Two audio tracks may have equal times.
    """
    order = coordinator(mode)
    order.put(Frame(b"", 5 * MS, track_id=VIDEO))
    order.put(Frame(b"", 5 * MS + 9_999, track_id=AUDIO))
    assert [out.pts for out in order.ready(flush=True)] == [5 * MS, 6 * MS + 9_999]
    order = coordinator(mode, AUDIO, AUDIO + 1)
    order.put(frame(AUDIO, 5))
    order.put(frame(AUDIO + 1, 5))
    assert summary(order.ready(flush=True)) == [(AUDIO, 5), (AUDIO + 1, 5)]


@pytest.mark.parametrize("mode", MODES)
def test_key_frames_and_end_of_fragment_frames(mode: FrameOrderMode) -> None:
    """Modes without EOFR refuse both together; in dts modes a key frame follows a mark.

    That does not happen if the caller flags key frames, because the frame could not be decoded.
    """
    order = coordinator(mode)
    order.check(Frame.end_of_fragment())
    order.put(frame(VIDEO, 0, key=True))
    if mode.name.endswith("EOFR") or mode is NO_COMPARISON:
        order.check(Frame.end_of_fragment())
    else:
        with pytest.raises(KvsError) as caught:
            order.check(Frame.end_of_fragment())
        assert caught.value.status is StatusCode.SETTING_KEY_FRAME_FLAG_WHILE_USING_EOFR
    list(order.ready(flush=True))
    order.end_fragment()
    order.put(frame(VIDEO, 10))
    order.put(frame(VIDEO, 20))
    keys = [out.key_frame for out in order.ready(flush=True)]
    assert keys == [mode is FrameOrderMode.DTS_ONE_MS_COMPENSATE_EOFR, False]


def test_a_track_may_not_run_far_ahead_of_another() -> None:
    """2001 frames may wait for another track. One more is refused, and so is an unknown track."""
    order = coordinator(FrameOrderMode.PTS_ONE_MS_COMPENSATE)
    for pts in range(2001):
        order.check(frame(VIDEO, pts))
        order.put(frame(VIDEO, pts))
    for bad, status in (
        (frame(VIDEO, 2001), StatusCode.MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED),
        (frame(9, 61), StatusCode.MKV_TRACK_INFO_NOT_FOUND),
    ):
        with pytest.raises(KvsError) as caught:
            order.check(bad)
        assert caught.value.status is status
    order.check(frame(AUDIO, 0))
    assert order.size_bytes > 2001 * len(b"data")
    assert len(order.take_all()) == 2001
    assert order.size_bytes == 0


def test_a_removed_frame_does_not_use_up_the_forced_key_frame() -> None:
    """After the end of a fragment, the next frame that goes out becomes a key frame."""
    order = coordinator(FrameOrderMode.DTS_ONE_MS_COMPENSATE_EOFR)
    order.end_fragment()
    order.put(frame(VIDEO, 0))
    assert [one.key_frame for one in order.take_all()] == [False]
    order.put(frame(VIDEO, 10))
    order.put(frame(VIDEO, 20))
    assert [one.key_frame for one in order.ready(flush=True)] == [True, False]


def test_original_dts_is_the_time_of_a_moved_frame_s_put() -> None:
    """Sound that was put before earlier pictures is moved; events report its original time."""
    order = coordinator(NO_COMPARISON)
    order.put(frame(AUDIO, 30))
    order.put(frame(VIDEO, 20))
    moved = next(order.ready())
    assert (moved.track_id, moved.dts, order.original_dts) == (AUDIO, 20 * MS, 30 * MS)


@pytest.mark.parametrize("mode", MODES)
def test_a_frame_that_is_put_back_goes_out_next(mode: FrameOrderMode) -> None:
    """It keeps the key flag that the end of a fragment gave it."""
    order = coordinator(mode)
    order.end_fragment()
    order.put(frame(VIDEO, 20))
    order.put(frame(AUDIO, 30))
    order.put(frame(VIDEO, 40))
    size = order.size_bytes
    for _ in range(3):
        first = next(order.ready())
        order.put_back(first)
        assert (len(order), order.size_bytes) == (3, size)
    out = list(order.ready(flush=True))
    forced = mode in BY_DTS
    assert [(f.track_id, f.key_frame) for f in out] == [
        (VIDEO, forced),
        (AUDIO, False),
        (VIDEO, False),
    ]
    assert order.size_bytes == 0


@pytest.mark.parametrize("mode", [*BY_DTS, *BY_PTS])
def test_a_frame_that_is_put_back_moves_the_others_once(mode: FrameOrderMode) -> None:
    """Equal times move the sound by one timecode unit, however often the picture is put back."""
    order = coordinator(mode)
    order.put(frame(VIDEO, 20, key=True))
    order.put(frame(AUDIO, 20))
    for _ in range(3):
        order.put_back(next(order.ready()))
    assert summary(order.ready(flush=True)) == [(VIDEO, 20), (AUDIO, 21)]
