"""The forms of SOURCE, and the messages about invalid ones."""

from __future__ import annotations

from fractions import Fraction

import pytest

from kvsproducer.sources.spec import FileSpec, PatternSpec, StdinSpec, parse_spec
from kvsproducer.status import KvsError, StatusCode


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("clip.mp4", FileSpec("clip.mp4")),
        ("./a:b.ts", FileSpec("./a:b.ts")),
        ("file:///tmp/clip.mkv", FileSpec("/tmp/clip.mkv")),
        ("/dev/stdin", FileSpec("/dev/stdin")),
        ("/dev/fd/3", FileSpec("/dev/fd/3")),
        ("testsrc.mp4", FileSpec("testsrc.mp4")),
        ("-", StdinSpec()),
        ("testsrc", PatternSpec()),
        ("testsrc:", PatternSpec()),
        (
            "testsrc:duration=2.5,rate=30000/1001,size=320x240,audio=1,codec=h265,bframes=2,gop=30",
            PatternSpec(Fraction(5, 2), Fraction(30000, 1001), 320, 240, "hevc", 2, 30, "aac"),
        ),
        ("testsrc:audio=alaw", PatternSpec(audio="pcm_alaw")),
    ],
)
def test_source_texts(text: str, meaning: object) -> None:
    """Paths, standard input and the synthetic source are recognised by their text."""
    assert parse_spec(text) == meaning


@pytest.mark.parametrize("text", ["rtsp://camera/1", "rtmp://x/y", "http://x/clip.mp4",
                                  "/dev/video0", "v4l2:/dev/video0", "camera:0"])  # fmt: skip
def test_unsupported_sources_are_refused_with_an_alternative(text: str) -> None:
    """Network addresses and devices are refused as not implemented, with an alternative."""
    with pytest.raises(KvsError, match="not supported yet") as caught:
        parse_spec(text)
    assert caught.value.status is StatusCode.NOT_IMPLEMENTED
    assert "kvs put -" in caught.value.detail


@pytest.mark.parametrize("text", ["", "testsrc:colour=red", "testsrc:rate=0", "testsrc:rate=x",
                                  "testsrc:size=10x10", "testsrc:size=321x240", "testsrc:gop=0",
                                  "testsrc:size=640", "testsrc:codec=vp9", "testsrc:rate=1/0",
                                  "testsrc:duration=-1", "testsrc:audio=opus"])  # fmt: skip
def test_invalid_sources_are_named(text: str) -> None:
    """A mistyped option is an INVALID_ARG that repeats it."""
    with pytest.raises(KvsError) as caught:
        parse_spec(text)
    assert caught.value.status is StatusCode.INVALID_ARG
    assert text.partition(":")[2].partition("=")[0] in caught.value.detail
