"""The demo's clip is real media."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

from kvsproducer.cli.demo.clip import DEMO_PATTERN, demo_clip


def test_the_clip_is_an_mp4_with_h264_b_frames_and_aac(tmp_path: Path) -> None:
    """FFmpeg says so."""
    path = demo_clip(tmp_path, replace(DEMO_PATTERN, duration_s=Fraction(2)))
    with av.open(str(path)) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]
        packets = [p for p in container.demux(video=0) if p.size]
    assert len(packets) == 50
    assert any(p.pts > q.pts for p, q in pairwise(packets))
