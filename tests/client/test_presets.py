"""Tracks of the common codecs, with their Matroska codec ids and content types."""

from __future__ import annotations

import pytest

from kvsproducer.client.presets import AUDIO_CODECS, VIDEO_CODECS, audio_track, video_track
from kvsproducer.mkv.tracks import TrackType
from kvsproducer.status import KvsError, StatusCode


@pytest.mark.parametrize(
    ("codec", "codec_id", "media"),
    [
        ("h264", "V_MPEG4/ISO/AVC", "video/h264"),
        ("H265", "V_MPEGH/ISO/HEVC", "video/h265"),
    ],
)
def test_video_tracks(codec: str, codec_id: str, media: str) -> None:
    """The track id is 1; the codec's name may have any case."""
    track, content_type = video_track(codec)
    assert (track.track_id, track.track_type) == (1, TrackType.VIDEO)
    assert (track.codec_id, content_type) == (codec_id, media)


@pytest.mark.parametrize(
    ("codec", "codec_id", "media"),
    [
        ("aac", "A_AAC", "audio/aac"),
        ("alaw", "A_MS/ACM", "audio/alaw"),
        ("Mulaw", "A_MS/ACM", "audio/mulaw"),
    ],
)
def test_audio_tracks(codec: str, codec_id: str, media: str) -> None:
    """The caller gives the track id."""
    track, content_type = audio_track(codec, 7)
    assert (track.track_id, track.track_type) == (7, TrackType.AUDIO)
    assert (track.codec_id, content_type) == (codec_id, media)


def test_an_unknown_codec_is_refused_with_a_list_of_known_ones() -> None:
    """Audio codecs are not accepted for video."""
    with pytest.raises(KvsError, match="h264, h265") as caught:
        video_track("aac")
    assert caught.value.status is StatusCode.INVALID_ARG
    with pytest.raises(KvsError, match="aac, alaw, mulaw"):
        audio_track("opus", 2)
    assert not VIDEO_CODECS.keys() & AUDIO_CODECS.keys()
