"""The cameras of the test kit."""

from __future__ import annotations

import random

import pytest

from kvsproducer.testing.frames import AUDIO, VIDEO, Camera, Shot, frame_name

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
