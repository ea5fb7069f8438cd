"""Codecs: NAL units, parameter sets, and the codec private data (CPD) of Matroska tracks.

`nal` converts frames between Annex-B and AVCC without copying. `h264` and `h265` parse parameter
sets and make avcC and hvcC records. `audio` parses and makes AAC and G.711 configurations. `bitmap`
parses BITMAPINFOHEADER, and `bits` reads bits for all of them.

This package is in layer 1 (see ARCHITECTURE.md): it does not import the Matroska code in `mkv`.

Every failure is a `KvsError` with the status that the Error Code Reference names: `InvalidFrame`
for the NAL units of a frame, `InvalidMedia` for parameter sets and codec private data, and
`InvalidConfiguration` for arguments of `aac_config` and `pcm_config`.
"""

from kvsproducer.codecs import audio, bitmap, h264, h265
from kvsproducer.codecs.audio import (
    AacConfig,
    AdtsHeader,
    PcmConfig,
    PcmFormat,
    aac_config,
    parse_aac_config,
    parse_adts,
    parse_pcm_config,
    pcm_config,
    strip_adts,
)
from kvsproducer.codecs.bitmap import BitmapInfo, parse_bitmap_info
from kvsproducer.codecs.bits import BitReader, unescape
from kvsproducer.codecs.nal import (
    START_CODE,
    Buffer,
    VideoCodec,
    annexb_to_avcc,
    avcc_to_annexb,
    is_annexb,
    is_key_frame,
    nal_type,
    nal_types,
    parameter_sets,
    split_annexb,
    split_avcc,
)

__all__ = [
    # NAL units
    "START_CODE",
    "Buffer",
    "VideoCodec",
    "annexb_to_avcc",
    "avcc_to_annexb",
    "is_annexb",
    "is_key_frame",
    "nal_type",
    "nal_types",
    "parameter_sets",
    "split_annexb",
    "split_avcc",
    # video configurations: h264.parse_cpd, h264.cpd_to_avcc, h265.parse_cpd, h265.cpd_to_hvcc ...
    "h264",
    "h265",
    "bitmap",
    "BitmapInfo",
    "parse_bitmap_info",
    # audio configurations
    "audio",
    "AacConfig",
    "AdtsHeader",
    "PcmConfig",
    "PcmFormat",
    "aac_config",
    "parse_aac_config",
    "parse_adts",
    "parse_pcm_config",
    "pcm_config",
    "strip_adts",
    # bits
    "BitReader",
    "unescape",
]
