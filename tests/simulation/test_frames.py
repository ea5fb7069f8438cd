"""The cameras of the test kit."""

from __future__ import annotations

import random

import pytest
from tests.simulation.frames import AUDIO, VIDEO, Camera, Shot, frame_name, parameter_set

from kvsproducer.codecs.nal import annexb_to_avcc

SECOND = 10_000_000


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_camera_gives_decodable_groups(b_frames: int) -> None:
    """Decoding times grow, no picture is shown twice, and groups do not overlap."""
    shot = Shot(SECOND // 25, gop=8, b_frames=b_frames, bytes=50, audio_interval=0)
    camera = Camera(3, shot, 0, random.Random(1))
    frames = [camera.next_frame() for _ in range(100)]
    assert [frame.dts for frame in frames] == [SECOND // 25 * index for index in range(100)]
    assert all(frame.pts >= frame.dts for frame in frames)
    assert len({frame.pts for frame in frames}) == 100
    keys = [frame.pts for frame in frames if frame.key_frame]
    for key in keys:
        assert all(
            (frame.pts < key) == (frame.dts < key - b_frames * shot.interval) for frame in frames
        )
    assert [frame_name(frame.data) for frame in frames] == [(3, index) for index in range(100)]


def test_audio_goes_beside_the_pictures() -> None:
    """In decoding order over both tracks."""
    camera = Camera(0, Shot(SECOND // 25, 5, 0, 50, SECOND // 40), 0, random.Random(1))
    frames = [camera.next_frame() for _ in range(100)]
    assert {frame.track_id for frame in frames} == {VIDEO, AUDIO}
    assert [frame.dts for frame in frames] == sorted(frame.dts for frame in frames)


def test_two_tracks_of_sound() -> None:
    """Each has frames of its own times, all named."""
    shot = Shot(SECOND // 25, 5, 0, 50, SECOND // 40, sounds=2)
    camera = Camera(2, shot, 0, random.Random(1))
    frames = [camera.next_frame() for _ in range(200)]
    assert {frame.track_id for frame in frames} == {VIDEO, AUDIO, AUDIO + 1}
    assert [frame.dts for frame in frames] == sorted(frame.dts for frame in frames)
    assert [frame_name(frame.data) for frame in frames] == [(2, index) for index in range(200)]


def test_byte_streams_and_what_is_to_be_stored_of_them() -> None:
    """The codecs' own conversion agrees; key frames have parameter sets, which change at times."""
    shot = Shot(SECOND // 25, 4, 0, 300, 0, annex_b=True)
    camera = Camera(1, shot, 0, random.Random(1))
    sets = set()
    for index in range(300):
        frame = camera.next_frame()
        assert b"".join(annexb_to_avcc(frame.data)[0]) == camera.stored
        assert frame_name(camera.stored) == (1, index)
        assert bool(parameter_set(camera.stored)) is frame.key_frame
        sets.add(parameter_set(camera.stored))
    assert len(sets) == 3
