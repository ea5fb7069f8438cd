"""Tests of the values of AWS's producer interface."""

from dataclasses import FrozenInstanceError

import pytest

from kvsproducer.mkv import FrameFlags, FrameKind, NalAdaptation, TrackInfo, TrackType


def test_values_are_those_of_the_producer_interface() -> None:
    assert [int(value) for value in TrackType] == [1, 2, 3]
    assert [int(value) for value in FrameFlags if value] == [1, 2, 4, 8]
    assert [int(value) for value in NalAdaptation if value] == [8, 16, 32]
    assert [int(value) for value in FrameKind] == [0, 1, 2]


def test_a_track_is_a_value() -> None:
    track = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC")
    assert track == TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", "")
    with pytest.raises(FrozenInstanceError):
        track.width = 640  # type: ignore[misc]
