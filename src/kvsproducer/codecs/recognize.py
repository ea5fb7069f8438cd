"""Recognizes data of another format than the expected codec, so that errors can name the format.

Formats are recognized by their first bytes (JPEG: ITU T.81; PNG: ISO/IEC 15948; MP4: ISO/IEC
14496-12; Matroska: RFC 8794; MPEG-TS: ISO/IEC 13818-1; LOAS: ISO/IEC 14496-3). Raw pictures are
recognized only by their size. Each function looks at a limited number of bytes or NAL units, even
if the data is large. The functions that name a format return None if they are not sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from kvsproducer.codecs.audio import parse_adts
from kvsproducer.codecs.nal import Buffer, VideoCodec, iterate_avcc, nal_type
from kvsproducer.limits import MAX_UNITS_LOOKED_AT
from kvsproducer.status import KvsError

__all__ = ["is_adts", "is_loas", "is_length_prefixed", "other_format", "other_video_codec"]

_MAGIC: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    ("a JPEG image", lambda data: data.startswith(b"\xff\xd8\xff")),
    ("a PNG image", lambda data: data.startswith(b"\x89PNG\r\n\x1a\n")),
    ("a GIF image", lambda data: data.startswith((b"GIF87a", b"GIF89a"))),
    ("a WebP image", lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP"),
    ("a TIFF image", lambda data: data.startswith((b"II*\0", b"MM\0*"))),
    (
        "a BMP image",
        lambda data: data.startswith(b"BM") and int.from_bytes(data[2:6], "little") == len(data),
    ),
    ("a WAV file", lambda data: data.startswith(b"RIFF") and data[8:12] == b"WAVE"),
    ("a piece of an MP4 file", lambda data: data[4:8] in (b"ftyp", b"moov", b"moof", b"mdat")),
    ("a piece of a Matroska file", lambda data: data.startswith(b"\x1a\x45\xdf\xa3")),
    ("MPEG-TS", lambda data: len(data) > 188 and data[0] == 0x47 and data[188] == 0x47),
)
# Common picture sizes of cameras and models, in pixels.
_RESOLUTIONS: Final = (
    (160, 120), (224, 224), (320, 240), (352, 288), (416, 416), (640, 360), (640, 480), (640, 640),
    (704, 576), (720, 480), (720, 576), (800, 600), (848, 480), (960, 540), (1024, 768),
    (1280, 720), (1280, 960), (1280, 1024), (1600, 1200), (1920, 1080), (1920, 1200), (2048, 1536),
    (2560, 1440), (2592, 1944), (3840, 2160), (256, 256), (299, 299), (300, 300), (384, 384),
    (512, 512), (768, 768), (1024, 1024), (240, 180), (480, 270), (480, 360), (480, 480),
    (426, 240), (512, 384), (800, 480), (854, 480), (1152, 864), (1280, 800), (1296, 972),
    (1366, 768), (1440, 900), (1440, 1080), (1456, 1088), (1600, 900), (1640, 1232), (1680, 1050),
    (2028, 1520), (2304, 1296), (3280, 2464), (4056, 3040), (4096, 2160), (4608, 2592),
)  # fmt: skip
# Bits per pixel of RGB in 16-bit ints and in floats, gray, YUYV, RGBA, I420 and NV12, RGB. If two
# formats give the same size in bytes, the later one is reported.
_PIXEL_BITS: Final = (48, 96, 8, 16, 32, 12, 24)
_RAW_SIZES: Final = {
    width * height * bits // 8: f"raw pixels (the size of {width}x{height} with {bits} bits each)"
    for bits in _PIXEL_BITS
    for width, height in _RESOLUTIONS
}

# H.265 parameter sets and IRAP pictures of the base layer, in the lowest temporal layer.
_H265_SETS: Final = frozenset((b"\x40\x01", b"\x42\x01", b"\x44\x01"))
_H265_KEYS: Final = frozenset(bytes((kind << 1, 1)) for kind in range(16, 22))
_H264_SPS: Final = frozenset(b"\x27\x47\x67")
_H264_PROFILES: Final = frozenset(
    (44, 66, 77, 83, 86, 88, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)
)
_H264_IDR: Final = frozenset(b"\x25\x45\x65")


def other_format(data: bytes) -> str | None:
    """Return the name of the format if `data` is an image, a container or raw pixels, else None."""
    for name, fits in _MAGIC:
        if fits(data):
            return name
    return _RAW_SIZES.get(len(data))


def other_video_codec(units: Iterable[Buffer], codec: VideoCodec) -> VideoCodec | None:
    """Return the codec of a key frame's NAL units if it is clearly not `codec`, else None."""
    if codec is VideoCodec.H264:
        heads = [bytes(unit[:2]) for unit in units]
        if not _H265_SETS.isdisjoint(heads) or (heads and heads[0] in _H265_KEYS):
            return VideoCodec.H265
        return None
    for unit in units:
        # In H.265 these first bytes would mean a layer above 31, which is not used.
        if len(unit) > 1 and unit[0] in _H264_SPS and unit[1] in _H264_PROFILES:
            return VideoCodec.H264
        if len(unit) > 1 and unit[0] in _H264_IDR and unit[1] & 0x80:
            return VideoCodec.H264
    return None


def is_length_prefixed(data: bytes, codec: VideoCodec) -> bool:
    """Return True if `data` consists of NAL units with 4-byte lengths, including a picture."""
    if not int.from_bytes(data[:4]):
        return False
    try:
        kinds = {nal_type(unit, codec) for unit in islice(iterate_avcc(data), MAX_UNITS_LOOKED_AT)}
    except KvsError:
        return False
    pictures = (1, 5) if codec is VideoCodec.H264 else (*range(10), *range(16, 22))
    return not kinds.isdisjoint(pictures)


def is_adts(data: bytes) -> bool:
    """Return True if `data` begins with an ADTS header whose frame size fits into `data`."""
    try:
        return parse_adts(data).frame_size <= len(data)
    except KvsError:
        return False


def is_loas(data: bytes) -> bool:
    """Return True if `data` is one LOAS frame (AAC in LATM).

    Its header has 11 bits of sync and 13 bits of length.
    """
    word = int.from_bytes(data[:3])
    return word >> 13 == 0x2B7 and (word & 0x1FFF) + 3 == len(data)
