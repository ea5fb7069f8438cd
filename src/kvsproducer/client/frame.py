"""A media frame to put: the bytes of one access unit or audio packet, with its times.

Source: AWS's Frame structure (version 0). A camera makes about 30 frames a second, so this is a
plain class with slots. Invariant: `data` is immutable `bytes`. Any other buffer is copied once when
the frame is made, so the caller may reuse the buffer. A frame checks the types of its members. It
does not check the values of its times or the contents of its data. The stream checks both, because
it knows the codec.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from operator import index
from typing import Final, NoReturn, Protocol, SupportsIndex

from kvsproducer.duration import (
    TICKS_PER_SECOND,
    Instant,
    MediaDuration,
    instant_to_ticks,
    parse_duration,
    ticks,
)
from kvsproducer.mkv.tracks import FrameFlags
from kvsproducer.status import InvalidFrame, KvsError, StatusCode

__all__ = ["Frame", "FrameFlags", "MediaPacket"]

_LONGEST_UNIT_S: Final = 600  # our limit; a larger time base is probably inverted
_TICK: Final = (1, 1)  # the unit of times without a time base
_ENCODE: Final = (
    ". Pixels and samples have to be encoded first, for example with PyAV:"
    " av.CodecContext.create('libx264', 'w')"
)
FLAG_KEY: Final = int(FrameFlags.KEY)
FLAG_END_OF_FRAGMENT: Final = int(FrameFlags.END_OF_FRAGMENT)
_MEMBERS: Final = (
    ("data", bytes),
    *((name, int) for name in ("pts", "dts", "duration", "lead", "flags", "track_id")),
)


class MediaPacket(Protocol):
    """The attributes of a demuxed packet that `Frame.from_packet` reads; `av.Packet` has them."""

    # Properties, so that a packet with narrower types (a time base that is never None) matches.
    @property
    def pts(self) -> int | None: ...
    @property
    def dts(self) -> int | None: ...
    @property
    def duration(self) -> int | None: ...
    @property
    def time_base(self) -> Fraction | None: ...
    @property
    def is_keyframe(self) -> bool: ...

    def __bytes__(self) -> bytes: ...


class Frame:
    """One encoded picture (access unit), or one audio packet, with its times.

    Args:
        data: The encoded bytes: `bytes`, or any one-dimensional buffer of bytes, which is copied.
        pts: Time at which the frame is shown: ticks of 100 ns since 1970 (`kvsproducer.now()`), or
            an aware `datetime`. In a stream without absolute times: ticks since any moment.
        dts: Time at which the frame is decoded. Default: `pts`, which is right without B-frames.
        duration: How long the frame is shown: ticks, a `timedelta`, or ISO 8601 text. Default: 0,
            with which the stream derives the duration from its frame rate.
        key_frame: Whether decoding can start with this frame; True adds KEY to `flags`.
        track_id: The track of the stream to which the frame belongs.
        flags: `FrameFlags`.
        lead: For a key frame of an open group of pictures, in which later frames are shown before
            the key frame: how long before `pts` the first of these is shown. Same types as
            `duration`. The fragment starts at that time, because KVS refuses frames that are
            earlier than their fragment.
        time_base: Unit of times that are given as ints, in seconds: a `Fraction` or a (numerator,
            denominator) pair, for example `packet.time_base` of PyAV or `(1, 90_000)` of RTP video.
            These times are rounded to the nearest tick. Default: None, ticks of 100 ns.

    The attributes have the same names; times are ints in ticks. Raises INVALID_ARG for arguments of
    other types, and INVALID_DURATION_VALUE for text that is not ISO 8601.
    """

    __slots__ = ("data", "dts", "duration", "flags", "lead", "pts", "track_id")

    data: bytes
    pts: int
    dts: int
    duration: int
    flags: int
    track_id: int
    lead: int

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        pts: Instant,
        *,
        dts: Instant | None = None,
        duration: MediaDuration = 0,
        key_frame: bool = False,
        track_id: int = 1,
        flags: int = 0,
        lead: MediaDuration = 0,
        time_base: Fraction | tuple[int, int] | None = None,
    ) -> None:
        # In nearly all calls the types are right and the times are ticks, so these checks must be
        # cheap.
        if type(data) is not bytes:
            data = _to_bytes(data)
        unit = _TICK if time_base is None else _unit_of(time_base)
        if type(pts) is not int or unit is not _TICK:
            pts = _instant("pts", pts, unit)
        if dts is None:
            dts = pts
        elif type(dts) is not int or unit is not _TICK:
            dts = _instant("dts", dts, unit)
        if type(duration) is not int or unit is not _TICK:
            duration = _length("duration", duration, unit)
        if type(lead) is not int or unit is not _TICK:
            lead = _length("lead", lead, unit)
        if type(flags) is not int and not isinstance(flags, int):
            raise InvalidFrame(StatusCode.INVALID_ARG, f"flags {flags!r}: give FrameFlags values")
        self.data = data
        self.pts = pts
        self.dts = dts
        self.duration = duration
        self.flags = flags | FLAG_KEY if key_frame else flags
        self.track_id = track_id
        self.lead = lead

    @property
    def key_frame(self) -> bool:
        """True if decoding can start with this frame."""
        return bool(self.flags & FLAG_KEY)

    @classmethod
    def end_of_fragment(cls) -> Frame:
        """Return a frame without data that ends the open fragment."""
        return cls(b"", 0, track_id=0, flags=FLAG_END_OF_FRAGMENT)

    @classmethod
    def from_packet(cls, packet: MediaPacket, *, track_id: int = 1, offset: int = 0) -> Frame:
        """Return the frame of a demuxed packet (a PyAV `av.Packet`), moved by `offset` ticks.

        `offset` is added to all times. Audio packets get no key flag: FFmpeg flags every audio
        packet, but fragments begin with pictures. (In a stream of sound alone, fragments begin with
        any packet.) If only one of pts and dts is present, it is used for both. Raises INVALID_ARG
        if both are missing, or if the packet has no time base.
        """
        pts = packet.dts if packet.pts is None else packet.pts
        if pts is None or not packet.time_base:
            raise InvalidFrame(StatusCode.INVALID_ARG, "the packet has no timestamp or time base")
        frame = cls(
            bytes(packet),
            pts,
            dts=packet.dts,
            duration=packet.duration or 0,
            key_frame=packet.is_keyframe and not _is_audio(packet),
            track_id=track_id,
            time_base=packet.time_base,
        )
        frame.pts += offset
        frame.dts += offset
        return frame

    def __repr__(self) -> str:
        return (
            f"Frame({len(self.data)} bytes, pts={self.pts}, dts={self.dts}, "
            f"duration={self.duration}, flags={self.flags}, track_id={self.track_id})"
        )


def check_types(frame: object, stream: str) -> None:
    """Raise INVALID_ARG for an object that is not a frame, or has members of wrong types."""
    if not isinstance(frame, Frame):
        why = f"put_frame takes a Frame, not {type(frame).__name__}; make one: Frame(data, pts)"
        raise InvalidFrame(StatusCode.INVALID_ARG, why, stream=stream)
    times = type(frame.pts) is type(frame.dts) is type(frame.duration) is type(frame.lead) is int
    if times and type(frame.data) is bytes and type(frame.track_id) is type(frame.flags) is int:
        return  # the common case
    for name, right in _MEMBERS:
        value = getattr(frame, name)
        if not isinstance(value, right):
            why = f"the frame's {name} is of type {type(value).__name__}, not {right.__name__}"
            raise InvalidFrame(StatusCode.INVALID_ARG, why, stream=stream)


def _unit_of(time_base: object) -> tuple[int, int]:
    """Return the ticks per unit of a time base, as a numerator and a denominator."""
    # Nearly always it is a Fraction, and the checks of protocols below are slow.
    if type(time_base) is Fraction and 0 < time_base <= _LONGEST_UNIT_S:
        return time_base.numerator * TICKS_PER_SECOND, time_base.denominator
    above: object = None
    below: object = None
    if isinstance(time_base, tuple) and len(time_base) == 2:
        above, below = time_base
        if type(above) is type(below) is int and 0 < above <= below * _LONGEST_UNIT_S:
            return above * TICKS_PER_SECOND, below
    elif not isinstance(time_base, int | float):
        above = getattr(time_base, "numerator", None)
        below = getattr(time_base, "denominator", None)
    if isinstance(above, SupportsIndex) and isinstance(below, SupportsIndex):
        above, below = index(above), index(below)
        if 0 < above <= below * _LONGEST_UNIT_S:
            return above * TICKS_PER_SECOND, below
    raise InvalidFrame(
        StatusCode.INVALID_ARG,
        f"time_base is {time_base!r}; give the seconds of one unit as a Fraction or a (numerator,"
        f" denominator) pair, above 0 and at most {_LONGEST_UNIT_S}: 90,000 units a second are"
        " time_base=(1, 90000)",
    )


def _scaled(name: str, value: object, unit: tuple[int, int]) -> int:
    """Convert a number of units to ticks, rounded to the nearest tick."""
    if type(value) is not int:  # the check of a protocol is slow
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            _refuse_time(name, value)
        value = index(value)
    above, below = unit
    return (2 * value * above + below) // (2 * below)


def _instant(name: str, value: object, unit: tuple[int, int]) -> int:
    if not isinstance(value, datetime):
        return _scaled(name, value, unit)
    try:
        return instant_to_ticks(value)
    except KvsError as error:
        raise InvalidFrame(error.status, f"the frame's {name}: {error.detail}") from error


def _length(name: str, value: object, unit: tuple[int, int]) -> int:
    if isinstance(value, timedelta):
        return ticks(value)
    return parse_duration(value) if isinstance(value, str) else _scaled(name, value, unit)


def _refuse_time(name: str, value: object) -> NoReturn:
    forms = "ticks of 100 ns (int), or an aware datetime"
    if name in ("duration", "lead"):
        forms = "ticks of 100 ns (int), a timedelta or ISO 8601 text"
    hint = ""
    if isinstance(value, float):
        hint = f"; for seconds give kvsproducer.ticks({value!r})"
    raise InvalidFrame(
        StatusCode.INVALID_ARG,
        f"the frame's {name} is {value!r} ({type(value).__name__}); give {forms}{hint}",
    )


def _is_audio(packet: MediaPacket) -> bool:
    """Return whether a packet comes from an audio stream (`av.Packet.stream.type`)."""
    return getattr(getattr(packet, "stream", None), "type", None) == "audio"


def _to_bytes(data: object) -> bytes:
    """Return a copy of the caller's data; raise INVALID_ARG if it is not bytes-like.

    `bytes(data)` alone would accept too much. It would make a gigabyte of zeros from the number
    10**9, and pixels from an array.
    """
    if isinstance(data, bytes):
        return bytes(data)
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        if isinstance(data, int | str | list | tuple) or not hasattr(data, "__bytes__"):
            _refuse_data(f"is of type {type(data).__name__}", _type_advice(data))
        try:
            return bytes(data)
        except Exception as error:
            raise InvalidFrame(
                StatusCode.INVALID_ARG, f"bytes() of the frame's data failed: {error!r}"
            ) from error
    if view.ndim != 1 or view.itemsize != 1:
        shape = "x".join(map(str, view.shape or ()))
        what = f"is an array of {shape} items of {view.itemsize} bytes"
        if view.ndim == 2 and 1 in (view.shape or ()) and view.itemsize == 1:
            _refuse_data(what, "; for its bytes give data.tobytes()")
        _refuse_data(f"{what}, which looks like pixels or samples", _ENCODE)
    return view.tobytes()


def _type_advice(data: object) -> str:
    """Return advice on what to give instead of an object without bytes."""
    if data is None:
        return "; put no frame when the encoder gave none"
    if isinstance(data, str):
        return "; to put a file, call kvsproducer.put_media(path, stream_name)"
    return _ENCODE


def _refuse_data(what: str, advice: str) -> NoReturn:
    raise InvalidFrame(
        StatusCode.INVALID_ARG,
        f"the frame's data {what}; give the bytes of one encoded picture or audio packet{advice}",
    )
