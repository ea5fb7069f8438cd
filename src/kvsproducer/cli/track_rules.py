"""Check track descriptions for values that players or the producer SDK do not accept.

The service does not check codecs, so only a missing Tracks element is an error; the rest are
warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from kvsproducer import limits
from kvsproducer.codecs import h264, h265, is_annexb, parse_aac_config, parse_pcm_config
from kvsproducer.mkv.events import TrackEntry
from kvsproducer.status import KvsError, StatusCode

__all__ = ["Problem", "track_problems", "warning"]


class Problem(NamedTuple):
    """A rule that the media violates.

    timecode_ms: the timecode of the fragment, if it is not the current one.

    refused: False for a warning: the service stores the fragment nevertheless.
    """

    status: StatusCode
    text: str
    timecode_ms: int | None = None
    refused: bool = True


_S = StatusCode
# Codecs that players cannot decode without codec private data, and the parsers of that data.
_READERS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "V_MPEG4/ISO/AVC": h264.parse_cpd,
    "V_MPEGH/ISO/HEVC": h265.parse_cpd,
    "A_AAC": parse_aac_config,
    "A_MS/ACM": parse_pcm_config,
}


def warning(status: StatusCode, text: str) -> Problem:
    """Return a `Problem` that is only a warning: the service stores the media nevertheless."""
    return Problem(status, text, refused=False)


def track_problems(tracks: list[TrackEntry]) -> Iterator[Problem]:
    """Yield the problems of the tracks of a document."""
    if not tracks:
        yield Problem(_S.TRACK_INFO_MISSING, "no Tracks element")
    for track in tracks:
        where, private = f"track {track.number}", track.codec_private
        if len(private) > limits.MAX_CODEC_PRIVATE_BYTES:
            text = f"{where}: {len(private)} bytes of codec private data"
            yield warning(_S.MKV_INVALID_CODEC_PRIVATE_LENGTH, text)
        if len(track.codec_id) > limits.MAX_CODEC_ID_LEN:
            yield warning(_S.MKV_INVALID_CODEC_ID_LENGTH, f"{where}: codec id {track.codec_id!r}")
        if track.codec_id in _READERS:
            yield from _private_data_problems(where, track)


def _private_data_problems(where: str, track: TrackEntry) -> Iterator[Problem]:
    private = track.codec_private
    if not private:
        text = f"{where}: {track.codec_id} without codec private data: most players show nothing"
        yield warning(_S.MKV_CODEC_PRIVATE_NULL, text)
    elif is_annexb(private):
        text = f"{where}: codec private data is Annex-B; players want avcC / hvcC"
        yield warning(_S.MKV_INVALID_H264_H265_CPD, text)
    else:
        try:
            _READERS[track.codec_id](private)
        except KvsError as error:
            text = f"{where}: the codec private data cannot be read: {error.detail}"
            yield warning(error.status, text)
