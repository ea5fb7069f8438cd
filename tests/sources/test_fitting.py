"""Codecs by their names."""

from __future__ import annotations

import pytest

from kvsproducer.sources.fitting import MATROSKA, codec_name, fits
from kvsproducer.sources.media import Kind


@pytest.mark.parametrize(
    ("codec", "name"),
    [("av1", "AV1"), ("mp3", "MP3"), ("hevc", "H.265"), ("pcm_s24be", "PCM"), ("vp9", "VP9")],
)
def test_codecs_have_the_names_that_people_use(codec: str, name: str) -> None:
    assert codec_name(codec) == name


def test_what_kvs_plays_is_in_no_other_table() -> None:
    """`any_codec` changes nothing about the codecs that fit."""
    fitting = [codec for kind in Kind for codec in ("h264", "hevc", "aac") if fits(kind, codec)]
    assert sorted(fitting) == ["aac", "h264", "hevc"]
    assert not any(fits(kind, codec) for kind in Kind for codec in MATROSKA)
