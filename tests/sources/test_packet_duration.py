"""The durations of packets whose container does not have them."""

from __future__ import annotations

import pytest

from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaTrack
from kvsproducer.sources.packet_duration import duration_rule


@pytest.mark.parametrize(
    ("track", "data", "duration"),
    [
        (MediaTrack(Kind.VIDEO, "h264", rate=25.0), b"x", 400_000),
        (MediaTrack(Kind.VIDEO, "hevc"), b"x", 0),
        (MediaTrack(Kind.AUDIO, "aac", sample_rate=16_000), b"x", 640_000),
        (MediaTrack(Kind.AUDIO, "aac"), b"x", 0),
        (MediaTrack(Kind.AUDIO, "aac", sample_rate=8_000), b"\xff\xf1", 1_280_000),
        (MediaTrack(Kind.AUDIO, "pcm_mulaw", sample_rate=8_000, channels=2), bytes(320), 200_000),
        (MediaTrack(Kind.AUDIO, "pcm_alaw"), bytes(320), 0),
    ],
)
def test_durations(track: MediaTrack, data: bytes, duration: int) -> None:
    """From the frame rate, the samples of AAC, and the bytes of G.711; 0 if unknown."""
    assert duration_rule(track)(data) == duration


def test_he_aac_uses_the_rate_of_its_core() -> None:
    """An AudioSpecificConfig of SBR at 44.1 kHz over a core of 22.05 kHz."""
    track = MediaTrack(Kind.AUDIO, "aac", bytes.fromhex("2b8a0800"), sample_rate=44_100)
    assert duration_rule(track)(b"x") == 1024 * TICKS_PER_SECOND // 22_050


def test_adts_header_has_the_rate() -> None:
    """One frame of 1,024 samples at 48 kHz, whatever rate the container has."""
    track = MediaTrack(Kind.AUDIO, "aac", sample_rate=96_000)
    assert duration_rule(track)(bytes.fromhex("fff14c80057ffc")) == 213_333
