"""The duration of a packet if its container does not have it.

An AAC frame has 1,024 samples at the rate of the AAC core. The rate is in the ADTS header (ISO/IEC
13818-7, 6.2) or in the AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1). HE-AAC plays 2,048 samples
at twice that rate, which takes the same time. G.711 has one byte for each sample and channel. The
duration of a picture follows from the track's frame rate.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from kvsproducer.codecs.audio import parse_aac_config, parse_adts
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaTrack
from kvsproducer.status import KvsError

__all__ = ["duration_rule"]

_AAC_SAMPLES: Final = 1024


def duration_rule(track: MediaTrack) -> Callable[[bytes], int]:
    """Return a function that returns the duration of a packet, in ticks, from its bytes.

    The function returns 0 if the duration is unknown.
    """
    if track.kind is Kind.VIDEO:
        return _constant(int(TICKS_PER_SECOND / track.rate) if track.rate else 0)
    if track.codec.startswith("aac"):
        return _AacDuration(track).of
    rate = track.sample_rate * track.channels
    if track.codec in ("pcm_alaw", "pcm_mulaw") and rate:
        return lambda data: len(data) * TICKS_PER_SECOND // rate
    return _constant(0)


def _constant(duration: int) -> Callable[[bytes], int]:
    return lambda _: duration


class _AacDuration:
    def __init__(self, track: MediaTrack) -> None:
        rate = track.sample_rate
        with suppress(KvsError):  # no AudioSpecificConfig: MPEG-TS has ADTS headers
            rate = parse_aac_config(track.extradata).sampling_frequency
        self._frame = _AAC_SAMPLES * TICKS_PER_SECOND // rate if rate else 0

    def of(self, data: bytes) -> int:
        """Return the duration of an AAC frame, from its ADTS header if it has one."""
        if data[:1] == b"\xff":
            with suppress(KvsError):
                header = parse_adts(data)
                return header.samples * TICKS_PER_SECOND // header.sampling_frequency
        return self._frame
