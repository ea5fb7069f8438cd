"""Codecs by name."""

from __future__ import annotations

import pytest

from kvsproducer.sources.fitting import MATROSKA, codec_name, fits
from kvsproducer.sources.media import Kind


@pytest.mark.parametrize(
    ("codec", "name"),
    [("av1", "AV1"), ("mp3", "MP3"), ("hevc", "H.265"), ("pcm_s24be", "PCM"), ("vp9", "VP9")],
)
def test_codecs_have_their_common_names(codec: str, name: str) -> None:
    assert codec_name(codec) == name


def test_codecs_that_kvs_plays_are_in_no_other_table() -> None:
    """`any_codec` does not change how codecs that KVS plays are put."""
    fitting = [codec for kind in Kind for codec in ("h264", "hevc", "aac") if fits(kind, codec)]
    assert sorted(fitting) == ["aac", "h264", "hevc"]
    assert not any(fits(kind, codec) for kind in Kind for codec in MATROSKA)
