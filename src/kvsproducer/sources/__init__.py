"""Sources of frames: media files, standard input, and a synthetic picture.

`open_source` opens `testsrc:`, and MP4, MOV, MKV, TS, WAV and raw H.264 / H.265 with FFmpeg (PyAV,
the `media` extra). `put_media` puts a source into a stream and returns once everything is stored.
Cameras and RTSP are not supported yet. Frames whose times are derived or moved, and frames that are
skipped, are counted: see `Source.repairs`, `jumps` and `skips`.
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
