"""Audio configurations: AAC AudioSpecificConfig, ADTS headers, and WAVEFORMATEX for G.711.

Standards: ISO/IEC 14496-3 sections 1.6.2.1 (AudioSpecificConfig), 1.6.5 (SBR and PS signalling),
tables 1.16 to 1.19, 1.A.2.2 (ADTS); WAVEFORMATEX as Matroska's A_MS/ACM stores it.

It does not decode: of SBR and PS signalling it takes the output rate, and of a program config
element (channel configuration 0) nothing.
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
from kvsproducer.status import StatusCode, UtilsError, kvs_error

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

# samplingFrequencyIndex -> Hz; table 1.18. Index 15 means that 24 bits with the rate follow.
AAC_SAMPLE_RATES = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip
_EXPLICIT_RATE = 15
_RATE_INDEX = {rate: index for index, rate in enumerate(AAC_SAMPLE_RATES)}

# channelConfiguration -> channels; table 1.19. 0: in the program config element.
_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)

_ESCAPE = 31  # audioObjectType 31: 32 plus six more bits
_SBR, _PS = 5, 29
_MAX_OBJECT_TYPE = 95

_PROGRAM_CONFIG = 5  # id_syn_ele of a program config element
_ADTS_SIZE = 7  # bytes, nine with a CRC
_SAMPLES_PER_BLOCK = 1024

_WAVEFORMATEX = struct.Struct("<HHIIHHH")


@dataclass(frozen=True, slots=True)
class AacConfig:
    """An AudioSpecificConfig: rates in Hz; `channels` 0 when a program config element has them.

    `output_frequency` differs from `sampling_frequency` where HE-AAC is signalled with its own
    rate; Matroska's SamplingFrequency is that of the AAC core.
    """

    object_type: int
    sampling_frequency: int
    channel_config: int
    channels: int
    output_frequency: int


@dataclass(frozen=True, slots=True)
class AdtsHeader:
    """One ADTS header: `size` of itself and `frame_size` with it, in bytes; rate in Hz."""

    object_type: int
    sampling_frequency: int
    channel_config: int
    size: int
    frame_size: int
    samples: int


class PcmFormat(IntEnum):
    """wFormatTag of the two G.711 laws."""

    ALAW = 6
    MULAW = 7


@dataclass(frozen=True, slots=True)
class PcmConfig:
    """A WAVEFORMATEX: rate in Hz, bits per sample (0 where the writer left it out)."""

    format: PcmFormat
    sampling_frequency: int
    channels: int
    bits: int


def parse_aac_config(cpd: bytes) -> AacConfig:
    """Parse an AudioSpecificConfig.

    Raises MKV_INVALID_AAC_CPD (too short), MKV_INVALID_AAC_CPD_CHANNEL_CONFIG (above 7),
    MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX (reserved, or an explicit rate that is cut).
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
    except UtilsError as error:
        raise kvs_error(_S.MKV_INVALID_AAC_CPD, f"{len(cpd)} bytes, cut") from error
    if config >= len(_CHANNELS):
        raise kvs_error(_S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG, f"channel configuration {config}")
    if not rate:
        detail = f"sampling frequency index {index}"
        raise kvs_error(_S.MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX, detail)
    output = _extension_rate(bits) if object_type in (_SBR, _PS) else 0
    return AacConfig(object_type, rate, config, _CHANNELS[config], output or rate)


def aac_config(object_type: int, sampling_frequency: int, channel_config: int) -> bytes:
    """Make the AudioSpecificConfig for an object type (2 is AAC LC), a rate of the table in Hz,
    and a channel configuration 1..7 (as in table 1.19: 7 means 8 channels).

    Raises INVALID_ARG for anything else.
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
    """Parse the ADTS header in front of an AAC frame; raises MKV_INVALID_AAC_CPD when there is
    none or it contradicts itself, MKV_INVALID_AAC_CPD_SAMPLING_FREQUENCY_INDEX for a reserved rate.
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

    Channel configuration 0 says that the frame begins with a program config element, which then
    becomes part of the configuration. Raises as `parse_adts`, and
    MKV_INVALID_AAC_CPD_CHANNEL_CONFIG when that element is missing or cut.
    """
    header = parse_adts(data)
    if header.channel_config:
        return aac_config(header.object_type, header.sampling_frequency, header.channel_config)
    bits, out = BitReader(data[header.size :]), _BitWriter()
    out.write(5, header.object_type)
    out.write(4, _RATE_INDEX[header.sampling_frequency])
    out.write(4 + 3, 0)  # channel configuration; 1024 samples, no core coder, no extension
    try:
        if bits.read(3) != _PROGRAM_CONFIG:
            raise kvs_error(
                _S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG,
                "channel configuration 0 without a program config element in the first frame",
            )
        _copy_program_config(bits, out)
    except UtilsError as error:
        raise kvs_error(
            _S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG, "the program config element is cut"
        ) from error
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
    """Bits that are written one after the other."""

    def __init__(self) -> None:
        self._value = self._size = 0

    def write(self, count: int, value: int) -> None:
        """Append the lowest `count` bits of `value`."""
        self._value = self._value << count | value
        self._size += count

    def align(self) -> None:
        """Append zeros up to the next byte."""
        self.write(-self._size % 8, 0)

    def bytes(self) -> bytes:
        """Everything so far, which has to end with a byte."""
        return self._value.to_bytes(self._size // 8)


def strip_adts(data: bytes) -> memoryview:
    """The raw AAC frame behind one ADTS header, as a view; raises as `parse_adts`, and
    MKV_INVALID_AAC_CPD when the frame is not exactly as long as its header says.
    """
    header = parse_adts(data)
    if header.frame_size != len(data):
        detail = f"ADTS frame of {header.frame_size} bytes in {len(data)}"
        raise kvs_error(_S.MKV_INVALID_AAC_CPD, detail)
    return memoryview(data)[header.size :]


def parse_pcm_config(cpd: bytes) -> PcmConfig:
    """Parse the WAVEFORMATEX of an A-law or mu-law track; raises MKV_INVALID_AMS_ACM_CPD when it
    is shorter than 16 bytes or of another format.
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

    The bits per sample stay 0 and the average bytes a second are an eighth of the samples, as
    there; readers go by the format. Raises INVALID_ARG unless the format is 6 or 7, the rate
    8000..192000 Hz, and the channels 1 or 2.
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
    """The rate in Hz of a sampling frequency index; 0 for a reserved one."""
    return AAC_SAMPLE_RATES[index] if index < len(AAC_SAMPLE_RATES) else 0


def _extension_rate(bits: BitReader) -> int:
    """The rate behind SBR or PS, in Hz; 0 when it is missing, as in what encoders cut off."""
    try:
        index = bits.read(4)
        return bits.read(24) if index == _EXPLICIT_RATE else _rate(index)
    except UtilsError:
        return 0
