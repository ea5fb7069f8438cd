"""Make the demo's clip: an MP4 with H.264 (with B-frames) and AAC, from FFmpeg's encoders."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

from kvsproducer.sources.spec import PatternSpec

__all__ = ["DEMO_PATTERN", "demo_clip"]

DEMO_PATTERN: Final = PatternSpec(
    duration_s=Fraction(8),
    rate=Fraction(25),
    width=640,
    height=360,
    codec="h264",
    bframes=2,
    gop=25,
    audio="aac",
)


def demo_clip(folder: Path, pattern: PatternSpec = DEMO_PATTERN) -> Path:
    """Write the clip into `folder` and return its path. Raises NOT_FOUND without PyAV."""
    from kvsproducer.sources.pyav import write_clip

    path = folder / "clip.mp4"
    write_clip(str(path), pattern)
    return path
