"""Audio configurations: AAC AudioSpecificConfig, ADTS headers, and WAVEFORMATEX for G.711.

Standards: ISO/IEC 14496-3 sections 1.6.2.1 (AudioSpecificConfig), 1.6.5 (SBR and PS signalling),
tables 1.16 to 1.19, 1.A.2.2 (ADTS); WAVEFORMATEX as Matroska's A_MS/ACM stores it.

SBR and PS signalling is parsed only to find the output rate. `adts_config` copies a program config
element (channel configuration 0); other functions do not read it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from kvsproducer.codecs.bits import BitReader
from kvsproducer.limits import (
    AAC_CPD_BYTES,
    MAX_PCM_CHANNELS,
    MAX_PCM_SAMPLE_RATE_HZ,
    MIN_PCM_CPD_BYTES,
    MIN_PCM_SAMPLE_RATE_HZ,
)
from kvsproducer.status import InvalidMedia, StatusCode, kvs_error

__all__ = [
    "AAC_SAMPLE_RATES",
    "AacConfig",
    "AdtsHeader",
    "PcmConfig",
    "PcmFormat",
    "aac_config",
    "adts_config",
    "parse_aac_config",
    "parse_adts",
    "parse_pcm_config",
    "pcm_config",
    "strip_adts",
]

_S = StatusCode

# Rates in Hz by samplingFrequencyIndex; table 1.18. After index 15 the rate follows in 24 bits.
AAC_SAMPLE_RATES = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip
_EXPLICIT_RATE = 15
_RATE_INDEX = {rate: index for index, rate in enumerate(AAC_SAMPLE_RATES)}

# Numbers of channels by channelConfiguration; table 1.19. 0: the program config element has it.
_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)

_ESCAPE = 31  # after audioObjectType 31, the object type is 32 plus the next six bits
_SBR, _PS = 5, 29
_MAX_OBJECT_TYPE = 95

_PROGRAM_CONFIG = 5  # id_syn_ele of a program config element
_ADTS_SIZE = 7  # bytes, nine with a CRC
_SAMPLES_PER_BLOCK = 1024

_WAVEFORMATEX = struct.Struct("<HHIIHHH")


@dataclass(frozen=True, slots=True)
class AacConfig:
    """The content of an AudioSpecificConfig; rates are in Hz.

    `channels` is 0 if a program config element defines the channels. For HE-AAC,
    `sampling_frequency` is the rate of the AAC core (Matroska's SamplingFrequency), and
    `output_frequency` the rate after decoding.
    """

    object_type: int
    sampling_frequency: int
    channel_config: int
    channels: int
    output_frequency: int


@dataclass(frozen=True, slots=True)
class AdtsHeader:
    """The content of an ADTS header.

    `size` is the size of the header, `frame_size` the size of header and payload, both in bytes.
    `sampling_frequency` is in Hz, `samples` is the number of samples per channel in the frame.
    """

    object_type: int
    sampling_frequency: int
    channel_config: int
    size: int
    frame_size: int
    samples: int


class PcmFormat(IntEnum):
    """The two G.711 formats; the value is wFormatTag of WAVEFORMATEX."""

    ALAW = 6
    MULAW = 7


@dataclass(frozen=True, slots=True)
class PcmConfig:
    """The content of a WAVEFORMATEX: rate in Hz, and bits per sample (0 if not given)."""

    format: PcmFormat
    sampling_frequency: int
    channels: int
    bits: int


def parse_aac_config(cpd: bytes) -> AacConfig:
    """Parse an AudioSpecificConfig.

    Raises MKV_INVALID_AAC_CPD if it is too short, MKV_INVALID_AAC_CPD_CHANNEL_CONFIG if the
    channel configuration is above 7, and MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX if the index
    is reserved or an explicit rate is cut off.
    """
    if len(cpd) < AAC_CPD_BYTES:
        raise kvs_error(_S.MKV_INVALID_AAC_CPD, f"{len(cpd)} bytes, at least {AAC_CPD_BYTES}")
    bits = BitReader(cpd[:16])
    try:
        object_type = _object_type(bits)
        index = bits.read(4)
        # Rate and channel configuration take 28 bits when the rate is written out.
        explicit = index == _EXPLICIT_RATE and 8 * len(cpd) - bits.position >= 28
        rate = bits.read(24) if explicit else _rate(index)
        config = bits.read(4)
    except InvalidMedia as error:
        raise kvs_error(
            _S.MKV_INVALID_AAC_CPD, f"the AudioSpecificConfig of {len(cpd)} bytes is cut off"
        ) from error
    if config >= len(_CHANNELS):
        raise kvs_error(_S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG, f"channel configuration {config}")
    if not rate:
        detail = f"sampling frequency index {index}"
        raise kvs_error(_S.MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX, detail)
    output = _extension_rate(bits) if object_type in (_SBR, _PS) else 0
    return AacConfig(object_type, rate, config, _CHANNELS[config], output or rate)


def aac_config(object_type: int, sampling_frequency: int, channel_config: int) -> bytes:
    """Make an AudioSpecificConfig.

    `object_type` is 2 for AAC LC, `sampling_frequency` is one of `AAC_SAMPLE_RATES` in Hz, and
    `channel_config` is 1 to 7 (table 1.19: 7 means 8 channels). Raises INVALID_ARG for other
    values.
    """
    index = _RATE_INDEX.get(sampling_frequency)
    if index is None or not 0 < channel_config < len(_CHANNELS):
        detail = f"AAC at {sampling_frequency} Hz with channel configuration {channel_config}"
        raise kvs_error(_S.INVALID_ARG, detail)
    if not 0 <= object_type <= _MAX_OBJECT_TYPE or object_type == _ESCAPE:
        raise kvs_error(_S.INVALID_ARG, f"AAC object type {object_type}")
    tail = index << 4 | channel_config
    if object_type < _ESCAPE:
        return (object_type << 11 | tail << 3).to_bytes(2)
    return ((_ESCAPE << 6 | object_type - 32) << 13 | tail << 5).to_bytes(3)


def parse_adts(data: bytes) -> AdtsHeader:
    """Parse the ADTS header at the beginning of an AAC frame.

    Raises MKV_INVALID_AAC_CPD if there is no valid header, and
    MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX for a reserved rate.
    """
    if len(data) < _ADTS_SIZE or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        raise kvs_error(_S.MKV_INVALID_AAC_CPD, "no ADTS header")
    size = _ADTS_SIZE if data[1] & 1 else _ADTS_SIZE + 2
    word = int.from_bytes(data[2:7])
    frame_size = word >> 13 & 0x1FFF
    if frame_size < size:
        raise kvs_error(_S.MKV_INVALID_AAC_CPD, f"ADTS frame of {frame_size} bytes")
    rate = _rate(word >> 34 & 0xF)
    if not rate:
        raise kvs_error(_S.MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX, "reserved ADTS rate")
    return AdtsHeader(
        (word >> 38 & 3) + 1,
        rate,
        word >> 30 & 7,
        size,
        frame_size,
        _SAMPLES_PER_BLOCK * ((word & 3) + 1),
    )


def adts_config(data: bytes) -> bytes:
    """Make the AudioSpecificConfig for the ADTS frame `data`.

    With channel configuration 0, the frame must begin with a program config element, which is
    copied into the configuration. Raises what `parse_adts` raises, and
    MKV_INVALID_AAC_CPD_CHANNEL_CONFIG if that element is missing or cut off.
    """
    header = parse_adts(data)
    if header.channel_config:
        return aac_config(header.object_type, header.sampling_frequency, header.channel_config)
    bits, out = BitReader(data[header.size :]), _BitWriter()
    out.write(5, header.object_type)
    out.write(4, _RATE_INDEX[header.sampling_frequency])
    out.write(4 + 3, 0)  # channel configuration; 1024 samples, no core coder, no extension
    try:
        found = bits.read(3) == _PROGRAM_CONFIG
        if found:
            _copy_program_config(bits, out)
    except InvalidMedia as error:
        raise kvs_error(
            _S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG, "the program config element is cut off"
        ) from error
    if not found:
        raise kvs_error(
            _S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG,
            "channel configuration 0 without a program config element in the first frame",
        )
    return out.bytes()


def _copy_program_config(bits: BitReader, out: _BitWriter) -> None:
    """Copy a program_config_element (14496-3 table 4.2) without its id."""
    out.write(10, bits.read(10))  # instance tag, object type, sampling frequency index
    counts = [bits.read(width) for width in (4, 4, 4, 2, 3, 4)]
    for width, count in zip((4, 4, 4, 2, 3, 4), counts, strict=True):
        out.write(width, count)
    for width in (4, 4, 3):  # mono, stereo and matrix mixdown
        present = bits.read(1)
        out.write(1, present)
        if present:
            out.write(width, bits.read(width))
    front, side, back, effects, data, coupling = counts
    for width, count in ((5, front + side + back), (4, effects + data), (5, coupling)):
        for _ in range(count):
            out.write(width, bits.read(width))
    bits.skip(-bits.position % 8)
    out.align()
    length = bits.read(8)
    out.write(8, length)
    for _ in range(length):  # a comment
        out.write(8, bits.read(8))


class _BitWriter:
    """Writes bits one after the other, the most significant bit of a byte first."""

    def __init__(self) -> None:
        self._value = self._size = 0

    def write(self, count: int, value: int) -> None:
        """Append the lowest `count` bits of `value`."""
        self._value = self._value << count | value
        self._size += count

    def align(self) -> None:
        """Append zero bits up to the next byte boundary."""
        self.write(-self._size % 8, 0)

    def bytes(self) -> bytes:
        """Return everything written; the number of bits must be a multiple of 8."""
        return self._value.to_bytes(self._size // 8)


def strip_adts(data: bytes) -> memoryview:
    """Return the raw AAC frame after the ADTS header, as a view of `data`.

    Raises what `parse_adts` raises, and MKV_INVALID_AAC_CPD if the frame's size is not the size in
    its header.
    """
    header = parse_adts(data)
    if header.frame_size != len(data):
        detail = f"the ADTS header says {header.frame_size} bytes, the frame has {len(data)}"
        raise kvs_error(_S.MKV_INVALID_AAC_CPD, detail)
    return memoryview(data)[header.size :]


def parse_pcm_config(cpd: bytes) -> PcmConfig:
    """Parse the WAVEFORMATEX of an A-law or mu-law track.

    Raises MKV_INVALID_AMS_ACM_CPD if it has less than 16 bytes or another format.
    """
    if len(cpd) < MIN_PCM_CPD_BYTES:
        detail = f"{len(cpd)} bytes of WAVEFORMATEX, at least {MIN_PCM_CPD_BYTES} needed"
        raise kvs_error(_S.MKV_INVALID_AMS_ACM_CPD, detail)
    tag, channels, rate, _, _, bits, _ = _WAVEFORMATEX.unpack(
        cpd[: _WAVEFORMATEX.size].ljust(_WAVEFORMATEX.size, b"\0")
    )
    if tag not in PcmFormat.__members__.values():
        raise kvs_error(_S.MKV_INVALID_AMS_ACM_CPD, f"WAVE format {tag}, neither A-law nor mu-law")
    return PcmConfig(PcmFormat(tag), rate, channels, bits)


def pcm_config(pcm_format: int, sampling_frequency: int, channels: int) -> bytes:
    """Make the 18-byte WAVEFORMATEX that AWS's producer writes for G.711.

    As in AWS's producer, bits per sample is 0 and average bytes per second is an eighth of the
    samples; readers use only the format. `pcm_format` is 6 or 7, `sampling_frequency` is 8000 to
    192000 Hz, `channels` is 1 or 2. Raises INVALID_ARG for other values.
    """
    if (
        pcm_format not in PcmFormat.__members__.values()
        or not MIN_PCM_SAMPLE_RATE_HZ <= sampling_frequency <= MAX_PCM_SAMPLE_RATE_HZ
        or not 1 <= channels <= MAX_PCM_CHANNELS
    ):
        detail = f"WAVE format {pcm_format}, {sampling_frequency} Hz, {channels} channels"
        raise kvs_error(_S.INVALID_ARG, detail)
    average = sampling_frequency * channels // 8
    return _WAVEFORMATEX.pack(pcm_format, channels, sampling_frequency, average, channels, 0, 0)


def _object_type(bits: BitReader) -> int:
    object_type = bits.read(5)
    return 32 + bits.read(6) if object_type == _ESCAPE else object_type


def _rate(index: int) -> int:
    """Return the rate in Hz of a sampling frequency index, or 0 for a reserved index."""
    return AAC_SAMPLE_RATES[index] if index < len(AAC_SAMPLE_RATES) else 0


def _extension_rate(bits: BitReader) -> int:
    """Read the SBR or PS rate in Hz; return 0 if it is missing or reserved.

    Some encoders cut it off.
    """
    try:
        index = bits.read(4)
        return bits.read(24) if index == _EXPLICIT_RATE else _rate(index)
    except InvalidMedia:
        return 0
