"""Checks that the frames of a track can be played after they were stored.

The service stores any data and does not check codec private data, so mistakes would be noticed only
at playback. Therefore each track of a known codec has a `Format`, which inspects its frames before
they are packed. It refuses frames that no player could play, with an error that says what to do:

* video without parameter sets (ISO/IEC 14496-15: decoders take them from the track's codec private
  data), and AAC without AudioSpecificConfig;
* a picture that is put in several pieces: a frame is one access unit, which begins with its first
  slice (first_mb_in_slice 0, 14496-10 section 7.4.3; first_slice_segment_in_pic_flag 1, 23008-2
  7.4.7.1);
* frames of another codec, NAL units in the other format, images, and raw pixels.

It also corrects frames. NAL units without a picture, which some encoders return separately
(parameter sets, SEI, delimiters), are held back and joined to the next picture. ADTS headers
(14496-3 section 1.A.2.2) are removed, and the AudioSpecificConfig is made from them. A key flag is
removed from a picture that depends on other pictures.

A frame is refused only if it is certainly wrong. Bytes that no decoder could take for a picture or
for sound, as test programs put them, are accepted. So are all frames of a track whose codec private
data does not show their format, as in AWS's producer.

NAL units are parsed only up to the first slice. For most frames, one match of a compiled pattern
against the first bytes is enough (`Format.is_plain`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import islice
from typing import Final, NamedTuple, NoReturn

from kvsproducer.codecs import h264, h265
from kvsproducer.codecs.audio import AdtsHeader, aac_config, parse_adts
from kvsproducer.codecs.bits import BitReader, unescape
from kvsproducer.codecs.nal import (
    PARAMETER_SETS,
    START_CODE,
    VideoCodec,
    is_annexb,
    is_key_frame,
    iterate_annexb,
    iterate_avcc,
    nal_type,
)
from kvsproducer.codecs.recognize import (
    is_adts,
    is_length_prefixed,
    is_loas,
    other_format,
    other_video_codec,
)
from kvsproducer.limits import MAX_CODEC_PRIVATE_BYTES, MAX_UNITS_LOOKED_AT
from kvsproducer.mkv.codec_private import video_codec
from kvsproducer.mkv.tracks import NalAdaptation, TrackInfo, TrackType
from kvsproducer.status import InvalidFrame, KvsError, StatusCode, kvs_error

__all__ = ["Format", "Looked", "format_of"]

_S = StatusCode
_CODEC_IDS: Final = {VideoCodec.H264: "V_MPEG4/ISO/AVC", VideoCodec.H265: "V_MPEGH/ISO/HEVC"}
_NAMES: Final = {VideoCodec.H264: "H.264", VideoCodec.H265: "H.265"}
_SLICES: Final = {
    VideoCodec.H264: frozenset((1, 2, 3, 4, 5)),
    VideoCodec.H265: frozenset(range(32)),
}
_HEADER: Final = {VideoCodec.H264: 1, VideoCodec.H265: 2}  # bytes of a NAL unit's header
_SEI: Final = {VideoCodec.H264: 6, VideoCodec.H265: 39}
_RECOVERY_POINT: Final = 6  # the payload type of an SEI message
_INTRA_SLICES: Final = (2, 4, 7, 9)  # slice_type I and SI
_MAX_SLICE_TYPE: Final = 9
_H264_KINDS: Final = frozenset((*range(1, 17), 19, 20, 21))
# Raw AAC begins with an element's id of 0 to 6, never with the sync word of ADTS.
_plain_aac: Final = re.compile(rb"(?!\xff|\x56[\xe0-\xff]|\x00\x00\x00\x01)").match
_plain_g711: Final = re.compile(rb"(?!\xff[\xf0\xf1\xf8\xf9]|RIFF)").match
_UNDECODED: Final = "give whole access units: all NAL units of one picture in one Frame"


class Looked(NamedTuple):
    """A frame to store: its data, and whether decoding can start with it."""

    data: bytes
    key: bool


class Format(ABC):
    """Checks the frames of one track, and collects its codec private data from them."""

    ready = True
    """True if the track has the codec private data that a player needs."""

    waited_for = False
    """True if a session must not begin before the track is ready."""

    record: bytes | None = None
    """New codec private data from a frame, until the caller has taken it."""

    @property
    def is_plain(self) -> Callable[[bytes], object] | None:
        """A function that returns a match for a frame without flags that needs no `look`.

        If the property is None, no frame without flags needs `look`. Read the property again after
        each call of `look`, which may change it.
        """
        return None

    verified = False
    """True if a key frame has shown that the track has the declared codec."""

    @abstractmethod
    def look(self, data: bytes, *, key: bool, close: bool) -> Looked | None:
        """Check a frame. Return it in the form to store, or None if it is held back.

        `close` means that the frame has about the same time as the one before. Slices of one
        picture have such times. `look` does not change the state of a video track, because the
        frame may have to wait for space and be checked again; `done` applies the change. Raises
        MKV_... statuses for frames that do not fit the track.
        """

    def done(self) -> None:  # noqa: B027
        """Apply the changes of the last `look`, because its frame was accepted."""


def format_of(track: TrackInfo, content_type: str, flags: NalAdaptation) -> Format | None:
    """Return the checks for a track's frames, or None if its codec is not known."""
    if track.track_type is TrackType.AUDIO:
        if track.codec_id == "A_AAC":
            return _Aac(given=bool(track.codec_private_data))
        return _G711() if track.codec_id == "A_MS/ACM" else None
    codec = video_codec(track, content_type)
    if codec is None or track.codec_id != _CODEC_IDS[codec]:
        return None
    data = track.codec_private_data
    if flags & NalAdaptation.ANNEXB_NALS:
        return _Video(codec, annexb=True, ready=bool(data))
    if flags & NalAdaptation.AVCC_NALS:
        return _Video(codec, annexb=False, ready=bool(data))
    if not data:
        return _Unknown(codec)
    try:
        parse = h264.parse_avcc if codec is VideoCodec.H264 else h265.parse_hvcc
        size = parse(data).length_size
    except KvsError:
        return None
    return _Video(codec, annexb=False, ready=True, length_size=size, strict=False)


class _Video(Format):
    """Checks for H.264 or H.265 in a known format: Annex-B, or NAL units with lengths.

    With `strict` the caller has requested the format, so all other data is refused. Without it,
    data that is not recognized is accepted unchanged.
    """

    def __init__(
        self,
        codec: VideoCodec,
        *,
        annexb: bool,
        ready: bool,
        length_size: int = 4,
        strict: bool = True,
    ) -> None:
        self._codec = codec
        self._annexb = annexb
        self._length_size = length_size
        self._strict = strict
        self.ready = ready
        self._plain = _plain_pattern(codec, annexb=annexb, length_size=length_size)
        self._held = b""  # units that wait for the next picture
        self._held_key = False  # whether one of them had the key flag
        self._next = (b"", False, ready)  # the values of `_held`, `_held_key`, `ready` after `done`

    @property
    def is_plain(self) -> Callable[[bytes], object]:
        """See `Format`; no frame matches while held units wait for the next picture."""
        return _never if self._held else self._plain

    def look(self, data: bytes, *, key: bool, close: bool) -> Looked | None:
        """See `Format`. Units that were held back are joined to the next picture."""
        self._next = self._held, self._held_key, self.ready
        if not data:
            return Looked(data, key)
        joined, key = self._held + data if self._held else data, key or self._held_key
        try:
            self._check_form(data)
            head, picture = self._head(joined)
        except KvsError as error:
            if not self._strict and not self._is_recognized(data):
                return Looked(data, key)
            raise self._explained(error, data) from error
        self._check_codec(head if picture is None else [*head, picture[:8]])
        if picture is None:
            self._hold(joined, head, key)
            return None
        start = _slice_start(picture, self._codec)
        if start is _Start.LATER and close and self.verified:
            raise kvs_error(
                _S.MKV_INVALID_FRAME_DATA,
                "the frame begins in mid-picture, with a slice that is not the first one of its"
                f" access unit; {_UNDECODED}",
            )
        ready = self.ready
        if key and start in (_Start.KEY, _Start.PREDICTED):
            self.verified = True
            if start is _Start.PREDICTED and not self._can_recover(head):
                key = False
            elif not ready:
                self._check_sets(head)
                ready = True
        self._next = b"", False, ready
        return Looked(joined, key)

    def done(self) -> None:
        """See `Format`."""
        self._held, self._held_key, self.ready = self._next

    def _check_form(self, data: bytes) -> None:
        """Raise if the frame is Annex-B instead of length-prefixed, or the other way round."""
        if self._annexb:
            if data.startswith(START_CODE[1:]) and is_length_prefixed(data, self._codec):
                raise kvs_error(
                    _S.MKV_INVALID_ANNEXB_NALU_IN_FRAME_DATA,
                    "the frame has NAL units with lengths (AVCC), and the stream takes Annex-B",
                    offset=0,
                )
        elif data.startswith(START_CODE):
            raise kvs_error(
                _S.MKV_INVALID_AVCC_NALU_IN_FRAME_DATA,
                "the frame is Annex-B, and the stream takes NAL units with lengths (AVCC)",
                offset=0,
            )

    def _head(self, data: bytes) -> tuple[list[memoryview], memoryview | None]:
        """Return the units before the first slice, and the rest of the frame from that slice."""
        units: Iterator[memoryview] = (
            iterate_annexb(data) if self._annexb else iterate_avcc(data, self._length_size)
        )
        head: list[memoryview] = []
        slices = _SLICES[self._codec]
        for unit in units:
            kind = nal_type(unit, self._codec)
            if kind in slices or not _is_known(unit, kind, self._codec):
                return head, unit
            head.append(unit)
            if len(head) == MAX_UNITS_LOOKED_AT:
                raise kvs_error(
                    _S.MKV_INVALID_FRAME_DATA,
                    f"the frame has {len(head)} NAL units and no slice of a picture among them;"
                    f" {_UNDECODED}",
                )
        return head, None

    def _hold(self, data: bytes, head: list[memoryview], key: bool) -> None:
        """Hold back units without a picture; raise if there are none or they are too large."""
        if not head:
            raise kvs_error(
                _S.MKV_INVALID_FRAME_DATA, f"the frame has no NAL unit in its {len(data)} bytes"
            )
        if len(data) > MAX_CODEC_PRIVATE_BYTES:
            raise kvs_error(
                _S.MKV_INVALID_FRAME_DATA,
                f"{len(data)} bytes of {_NAMES[self._codec]} units hold no slice of a picture;"
                f" {_UNDECODED}",
            )
        self._next = data, key, self.ready

    def _check_codec(self, head: Iterable[memoryview]) -> None:
        other = other_video_codec(head, self._codec)
        if other is not None:
            raise kvs_error(
                _S.MKV_INVALID_FRAME_DATA,
                f"the frame is {_NAMES[other]}, the track is {_NAMES[self._codec]}; open the"
                f' stream with StreamInfo.video("{other}")',
            )

    def _check_sets(self, head: Iterable[memoryview]) -> None:
        codec = self._codec
        missing = PARAMETER_SETS[codec].keys() - {nal_type(unit, codec) for unit in head}
        if not missing and self._annexb:
            return
        status = _S.MKV_ANNEXB_CPD_MISSING_NALUS
        if codec is VideoCodec.H264:
            only_pps = missing == {8}
            status = (
                _S.MKV_MISSING_PPS_FROM_H264_CPD if only_pps else _S.MKV_MISSING_SPS_FROM_H264_CPD
            )
        names = ", ".join(PARAMETER_SETS[codec][kind] for kind in sorted(missing)) or "avcC or hvcC"
        raise InvalidFrame(
            status,
            f"the first key frame comes without {names}, and the track has no codec private data:"
            " no player could decode it. Have the encoder repeat its headers with each key frame"
            " (x264: repeat-headers=1; PyAV: no GLOBAL_HEADER flag), put them before the frame, or"
            f' give them: StreamInfo.video("{codec}", codec_private_data=...)',
        )

    def _can_recover(self, head: Iterable[memoryview]) -> bool:
        """Return True if a recovery point SEI allows decoding to start at this picture."""
        codec = self._codec
        return any(
            _has_recovery_point(unit, _HEADER[codec])
            for unit in head
            if nal_type(unit, codec) == _SEI[codec]
        )

    def _is_recognized(self, data: bytes) -> bool:
        return is_annexb(data[:64]) or other_format(data) is not None

    def _explained(self, error: KvsError, data: bytes) -> KvsError:
        """Return the error with a text that says what the data looks like and what to do."""
        if self._annexb and is_annexb(data[:64]) and not is_length_prefixed(data, self._codec):
            return error  # it has the declared format, but is damaged
        return InvalidFrame(error.status, f"{error.detail}; {_advice(data, self._codec)}")


class _Unknown(Format):
    """Checks for H.264 or H.265 of unknown format: no private data and `NalAdaptation.NONE`.

    As in AWS's producer, frames are accepted unchanged, except key frames that are recognized as
    not playable.
    """

    def __init__(self, codec: VideoCodec) -> None:
        self._codec = codec

    def look(self, data: bytes, *, key: bool, close: bool) -> Looked:
        """See `Format`; refuses key frames that are certainly not playable."""
        del close  # slices are not parsed here
        # The size of raw pixels says nothing about units whose lengths add up to it.
        other = other_format(data) is not None and not is_length_prefixed(data, self._codec)
        if key and (other or self._needs_more(data)):
            raise kvs_error(
                _S.MKV_INVALID_FRAME_DATA,
                "the frame is stored as it is (NalAdaptation.NONE) on a track without codec private"
                f" data; {_advice(data, self._codec)}",
            )
        return Looked(data, key)

    def _needs_more(self, data: bytes) -> bool:
        """Return True for Annex-B, and for NAL units with lengths but no parameter sets."""
        codec = self._codec
        try:
            annexb = is_annexb(data[:64]) and not is_length_prefixed(data, codec)
            units = iterate_annexb(data) if annexb else iterate_avcc(data)
            kinds = set()
            for unit in islice(units, MAX_UNITS_LOOKED_AT):
                kind = nal_type(unit, codec)
                kinds.add(kind)
                if kind in _SLICES[codec] or not _is_known(unit, kind, codec):
                    real = _slice_start(unit, codec) in (_Start.KEY, _Start.PREDICTED)
                    return real and (annexb or not PARAMETER_SETS[codec].keys() <= kinds)
        except KvsError:
            pass
        return False


class _Aac(Format):
    """Checks for AAC, raw or with ADTS headers; `given` means the caller gave private data."""

    waited_for = True

    def __init__(self, *, given: bool) -> None:
        self._given = self.ready = given
        self._config: tuple[int, int, int] | None = None

    @property
    def is_plain(self) -> Callable[[bytes], object]:
        """See `Format`."""
        return _plain_aac if self.ready else _never

    def look(self, data: bytes, *, key: bool, close: bool) -> Looked:
        """See `Format`. Sets `record` from the first ADTS header, and when the header changes."""
        del close  # audio has no slices
        if not data:
            return Looked(data, key)
        if data[0] == 0xFF and data[1:2] and data[1] & 0xF6 == 0xF0:
            return Looked(self._strip(data), key)
        if is_loas(data):
            _refuse_aac(
                "the frame is AAC in LATM (LOAS); KVS takes raw AAC: have the encoder or RTP"
                " depayloader give raw frames, and give their AudioSpecificConfig"
            )
        if data[:4] == START_CODE:
            _refuse_aac("the frame begins with the start code of video; look at its track_id")
        if not self.ready and _is_raw_aac(data):
            _refuse_aac(
                "a track of raw AAC needs its AudioSpecificConfig, without which no player could"
                ' decode it: StreamInfo.audio("aac", codec_private_data=...), from the encoder'
                " (PyAV: bytes(stream.codec_context.extradata)) or from"
                " kvsproducer.codecs.aac_config(2, rate, channels). Or put frames with ADTS headers"
            )
        return Looked(data, key)

    def _strip(self, data: bytes) -> bytes:
        """Return the raw frame after its ADTS header."""
        header = parse_adts(data)
        if header.frame_size != len(data):
            _refuse_aac(
                f"the frame's ADTS header says {header.frame_size} bytes and it has {len(data)};"
                " give one whole AAC frame a Frame"
            )
        if header.samples > 1024:
            _refuse_aac(
                f"the ADTS frame has {header.samples // 1024} AAC frames in it; have the encoder"
                " write one AAC frame behind each ADTS header"
            )
        if not self._given:
            self._learn(header)
        return data[header.size :]

    def _learn(self, header: AdtsHeader) -> None:
        """Make the AudioSpecificConfig from an ADTS header."""
        config = header.object_type, header.sampling_frequency, header.channel_config
        if config == self._config:
            return
        if not header.channel_config:
            raise InvalidFrame(
                _S.MKV_INVALID_AAC_CPD_CHANNEL_CONFIG,
                "the ADTS header has channel configuration 0 (the channels are in a program config"
                " element), from which no AudioSpecificConfig can be made; give it:"
                ' StreamInfo.audio("aac", codec_private_data=...)',
            )
        self.record = aac_config(*config)
        self._config = config
        self.ready = True


class _G711(Format):
    """Checks for A-law and mu-law: refuses ADTS frames and WAV files, accepts all other data."""

    @property
    def is_plain(self) -> Callable[[bytes], object]:
        """See `Format`."""
        return _plain_g711

    def look(self, data: bytes, *, key: bool, close: bool) -> Looked:
        """See `Format`."""
        del close  # audio has no slices
        adts = is_adts(data) and parse_adts(data).frame_size == len(data)
        if adts or other_format(data[:12]) == "a WAV file":
            what = 'AAC with an ADTS header; open the stream with StreamInfo.audio("aac")'
            if not adts:
                what = "a WAV file; put the samples behind its header, as G.711"
            raise kvs_error(_S.MKV_INVALID_FRAME_DATA, f"the frame on a G.711 track is {what}")
        return Looked(data, key)


def _never(_: bytes) -> None:
    """Match no frame: used as `is_plain` while each frame needs `look`."""


def _refuse_aac(detail: str) -> NoReturn:
    raise InvalidFrame(_S.MKV_INVALID_AAC_CPD, detail)


class _Start(Enum):
    """What the header of a frame's first slice says about its picture."""

    KEY = "the first slice of a picture where decoding can start"
    PREDICTED = "the first slice of a picture that needs others"
    LATER = "not the first slice of its picture"
    UNKNOWN = "too short, or no slice"


def _slice_start(unit: memoryview, codec: VideoCodec) -> _Start:
    """Classify a slice by its header; see `_Start`."""
    size = _HEADER[codec]
    kind = nal_type(unit, codec)
    if kind not in _SLICES[codec] or not _is_known(unit, kind, codec) or len(unit) < size + 2:
        return _Start.UNKNOWN
    if not unit[size] & 0x80 or (codec is VideoCodec.H264 and kind in (3, 4)):
        return _Start.LATER
    if is_key_frame((unit[:2],), codec):
        return _Start.KEY
    if codec is VideoCodec.H265:
        return _Start.PREDICTED
    bits = BitReader(unescape(bytes(unit[1:16])))
    bits.skip(1)  # first_mb_in_slice 0
    try:
        kind = bits.ue()
    except KvsError:
        return _Start.UNKNOWN
    if kind > _MAX_SLICE_TYPE:
        return _Start.UNKNOWN
    return _Start.KEY if kind in _INTRA_SLICES else _Start.PREDICTED


def _is_known(unit: memoryview, kind: int, codec: VideoCodec) -> bool:
    """Return True if a NAL unit has a valid type of the codec (table 7-1) in the base layer."""
    if codec is VideoCodec.H264:
        return not unit[0] & 0x80 and kind in _H264_KINDS
    return len(unit) > 1 and not unit[0] & 0x81 and 0 < unit[1] <= 7 and kind <= 40


def _is_raw_aac(data: bytes) -> bool:
    """Return True if a frame may be a raw_data_block that begins with sound or fill data.

    A single channel element must have a gain above 0 and a reserved bit of 0 (14496-3, 4.4.2.1).
    """
    if len(data) < 4:
        return False
    element = data[0] >> 5
    if element == 0:
        word = int.from_bytes(data[:3])
        return bool(word >> 9 & 0xFF) and not word >> 8 & 1
    return element in (1, 6)


def _advice(data: bytes, codec: VideoCodec) -> str:
    """Return a text that says what the data looks like, and what to do."""
    found = other_format(data)
    if found is not None:
        return (
            f"it looks like {found}: KVS stores {_NAMES[codec]} on this track, so encode it first"
            " (PyAV: av.CodecContext.create('libx264', 'w'))"
        )
    if any(is_length_prefixed(data, each) for each in VideoCodec):
        return (
            "its NAL units have lengths (AVCC), as in MP4 and Matroska files; open the stream with"
            f' the avcC or hvcC record: StreamInfo.video("{codec}", codec_private_data=...), or'
            " audio_video(video_private_data=...) (PyAV: bytes(stream.codec_context.extradata))"
        )
    if is_annexb(data[:64]):
        return (
            "it is Annex-B (NAL units behind start codes); open the stream with nal_adaptation="
            "NalAdaptation.ANNEXB_NALS | NalAdaptation.ANNEXB_CPD_NALS, the creators' default"
        )
    return (
        f"it does not look like {_NAMES[codec]}: give the encoder's access units with start codes"
        " (00 00 00 01)"
    )


def _has_recovery_point(unit: memoryview, header: int) -> bool:
    """Return True if an SEI unit has a recovery point message (14496-10 section 7.3.2.3.1)."""
    data = unescape(bytes(unit[header:1024]))
    position = 0
    while position + 2 < len(data):
        kind, position = _sei_number(data, position)
        size, position = _sei_number(data, position)
        if kind == _RECOVERY_POINT:
            return True
        position += size
    return False


def _sei_number(data: bytes, position: int) -> tuple[int, int]:
    """Read a number of an SEI message; return it and its end position.

    The number is the sum of its bytes: any number of 255, then a smaller one.
    """
    number = 0
    while position < len(data):
        byte = data[position]
        position += 1
        number += byte
        if byte != 255:
            break
    return number, position


def _plain_pattern(
    codec: VideoCodec, *, annexb: bool, length_size: int
) -> Callable[[bytes], object]:
    """Compile the pattern for a frame that begins with the first slice of a picture.

    An access unit delimiter may come first. In Annex-B zeros may precede a start code.
    """
    if codec is VideoCodec.H264:
        kinds = bytes(ref << 5 | kind for ref in range(4) for kind in (1, 2, 5))
        slice_header, delimiter = b"[" + re.escape(kinds) + b"]", rb"\x09."
    else:
        kinds = bytes(kind << 1 for kind in (*range(10), *range(16, 22)))
        slice_header, delimiter = b"[" + re.escape(kinds) + b"][\\x01-\\x07]", rb"\x46\x01."
    code = rb"\x00\x00\x00?\x01" if annexb else b".{%d}" % length_size
    pattern = code + b"(?:" + delimiter + code + b")?" + slice_header + rb"[\x80-\xff]"
    return re.compile(pattern, re.DOTALL).match
