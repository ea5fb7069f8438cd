"""Sources of frames: media files, standard input, and a synthetic picture.

`open_source` reads MP4, MOV, MKV, TS, WAV and raw H.264 / H.265 through FFmpeg (PyAV, the `media`
extra) and `testsrc:`. `put_media` puts a source into a stream and returns once everything is
stored. Cameras and RTSP are not supported yet. Frames that are repaired, moved or skipped are
counted: see `Source.repairs`, `jumps` and `skips`.
"""

from kvsproducer.sources.put import PutProgress, PutResult, put_media
from kvsproducer.sources.skipped import Reason, Skip
from kvsproducer.sources.source import Source, TrackChoice, open_source

__all__ = [
    "Reason",
    "Skip",
    "Source",
    "TrackChoice",
    "open_source",
    "PutProgress",
    "PutResult",
    "put_media",
]
