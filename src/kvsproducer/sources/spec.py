"""Parse SOURCE: a path, `testsrc:` with options, or `-`.

    clip.mp4                          a file; a name with a colon in it needs ./ in front
    testsrc:duration=5,rate=25        a synthetic moving picture, encoded here
    -                                 standard input: MKV, TS or raw H.264 / H.265
    rtsp://..., v4l2:, /dev/video0    not supported yet

This module opens nothing, so a mistyped SOURCE fails before a connection is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["FileSpec", "PatternSpec", "StdinSpec", "parse_spec"]

MAX_PATTERN_SIDE: Final = 4096  # our limit: pixels of a synthetic picture
MAX_PATTERN_RATE: Final = 240  # our limit: frames per second
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_DEVICE: Final = re.compile(
    r"(?:v4l2|avfoundation|dshow|alsa|camera|udp|srt)(?::|$)|/dev/(?!shm/|fd/|std)"
)


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file on disk."""

    path: str


@dataclass(frozen=True, slots=True)
class StdinSpec:
    """Standard input."""


@dataclass(frozen=True, slots=True)
class PatternSpec:
    """A synthetic moving picture, with a tone if `audio` is not ''.

    `audio` is '', aac, alaw or mulaw. `duration_s` is in seconds; 0 means that it does not end.
    """

    duration_s: Fraction = Fraction(10)
    rate: Fraction = Fraction(25)
    width: int = 640
    height: int = 360
    codec: str = "h264"
    bframes: int = 0
    gop: int = 0  # 0: two seconds of frames
    audio: str = ""

    @property
    def gop_frames(self) -> int:
        """Number of frames from one key frame to the next."""
        return self.gop or max(1, round(self.rate * 2))


def parse_spec(text: str) -> FileSpec | StdinSpec | PatternSpec:
    """Return the specification of the source that `text` describes.

    Raises INVALID_ARG for an invalid `testsrc:` option and for empty text. Raises NOT_IMPLEMENTED
    for network addresses and devices, which are not supported yet.
    """
    if text == "-":
        return StdinSpec()
    if text.startswith("testsrc"):
        name, _, options = text.partition(":")
        if name == "testsrc":
            return _pattern(options)
    if match := _URL.match(text):
        if match[1].lower() == "file":
            return FileSpec(text[match.end() :])
        tcp = "-rtsp_transport tcp " if match[1].lower() == "rtsp" else ""
        raise kvs_error(
            StatusCode.NOT_IMPLEMENTED,
            f"{match[1].lower()}:// sources are not supported yet; use a file, testsrc: or -."
            f" Until then use a pipe: ffmpeg {tcp}-i URL -c copy -f matroska - | kvs put - STREAM",
        )
    if _DEVICE.match(text):
        raise kvs_error(
            StatusCode.NOT_IMPLEMENTED,
            f"{text}: cameras and devices are not supported yet; use a file, testsrc: or -."
            " Until then use a pipe: ffmpeg -f v4l2 -i /dev/video0 -c:v libx264 -tune zerolatency"
            " -g 50 -f matroska - | kvs put - STREAM",
        )
    if not text:
        raise kvs_error(StatusCode.INVALID_ARG, "SOURCE is empty: give a file, testsrc: or -")
    return FileSpec(text)


def _pattern(options: str) -> PatternSpec:
    """Parse `duration=5,rate=25,size=320x240,...` into a `PatternSpec`."""
    pattern = PatternSpec()
    for item in filter(None, options.split(",")):
        key, _, value = item.partition("=")
        setter = _OPTIONS.get(key)
        if setter is None:
            raise kvs_error(
                StatusCode.INVALID_ARG,
                f"testsrc: has no option {key!r}; it has {', '.join(_OPTIONS)}",
            )
        try:
            pattern = setter(pattern, value)
        except KvsError:
            raise
        except (ValueError, ZeroDivisionError) as error:
            raise kvs_error(
                StatusCode.INVALID_ARG, f"testsrc: {key}={value!r} is out of range or not a number"
            ) from error
    return pattern


def _number(low: int, high: int, value: str) -> Fraction:
    number = Fraction(value)
    if not low <= number <= high:
        raise ValueError(value)
    return number


def _size(pattern: PatternSpec, value: str) -> PatternSpec:
    width, height = (int(_number(16, MAX_PATTERN_SIDE, part)) for part in value.split("x"))
    if width % 2 or height % 2:
        raise kvs_error(StatusCode.INVALID_ARG, f"testsrc: size={value}: both sides must be even")
    return replace(pattern, width=width, height=height)


def _choice(key: str, value: str, choices: dict[str, str]) -> str:
    if value not in choices:
        raise kvs_error(
            StatusCode.INVALID_ARG, f"testsrc: {key}={value!r} must be one of {', '.join(choices)}"
        )
    return choices[value]


_CODECS: Final = {"h264": "h264", "h265": "hevc", "hevc": "hevc"}
_AUDIO: Final = {
    "0": "",
    "1": "aac",
    "aac": "aac",
    "alaw": "pcm_alaw",
    "mulaw": "pcm_mulaw",
}
_OPTIONS: Final[dict[str, Callable[[PatternSpec, str], PatternSpec]]] = {
    "duration": lambda p, v: replace(p, duration_s=_number(0, 10**7, v)),
    "rate": lambda p, v: replace(p, rate=_rate(v)),
    "size": _size,
    "codec": lambda p, v: replace(p, codec=_choice("codec", v, _CODECS)),
    "bframes": lambda p, v: replace(p, bframes=int(_number(0, 16, v))),
    "gop": lambda p, v: replace(p, gop=int(_number(1, 10**6, v))),
    "audio": lambda p, v: replace(p, audio=_choice("audio", v, _AUDIO)),
}


def _rate(value: str) -> Fraction:
    rate = _number(0, MAX_PATTERN_RATE, value)
    if not rate:
        raise ValueError(value)
    return rate
