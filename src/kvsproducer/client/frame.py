"""A media frame on its way in: the bytes of one access unit or audio packet, with its times.

Facts: AWS's Frame structure (version 0). A frame is made 30 times a second per camera, so it is a
plain class with slots. Invariant: `data` is immutable `bytes`; any other buffer is copied once,
when the frame is made, so that a caller may reuse its own. It checks no times: the stream does.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NoReturn, Protocol

from kvsproducer.duration import TICKS_PER_SECOND, Duration, Instant, instant_to_ticks, to_ticks
from kvsproducer.mkv.tracks import FrameFlags
from kvsproducer.status import InvalidFrame, StatusCode

__all__ = ["Frame", "FrameFlags", "MediaPacket"]

FLAG_KEY: Final = int(FrameFlags.KEY)
FLAG_END_OF_FRAGMENT: Final = int(FrameFlags.END_OF_FRAGMENT)
_MEMBERS: Final = (
    ("data", bytes),
    *((name, int) for name in ("pts", "dts", "duration", "lead", "flags", "track_id")),
)


class MediaPacket(Protocol):
    """What `Frame.from_packet` needs of a demuxed packet; `av.Packet` has it."""

    # Properties, so that a packet whose types are narrower (a time base that is never None) fits.
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
    """One frame: `data` (bytes), `pts`, `dts` and `duration` (ticks), `flags`, `track_id`.

    `data` is one whole encoded picture (access unit) or one audio packet: bytes, or any object with
    a one-dimensional buffer of bytes; raises INVALID_ARG for anything else (text, numbers, arrays
    of pixels). Times may be given as an aware `datetime`, durations as a `timedelta` or ISO 8601
    text; raises INVALID_ARG and INVALID_DURATION_VALUE as `duration.to_ticks`. `dts` is `pts` when
    it is not given. `flags` are `FrameFlags` bits; `key_frame=True` adds KEY. A duration of 0 lets
    the stream take it from its frame rate.

    `lead`, a duration, is for a key frame with leading pictures: those of an open group, which
    follow it and are shown before it. It is how long before `pts` the first of them is shown; the
    fragment then starts there, for KVS takes nothing that is earlier than its fragment.
    """

    __slots__ = ("data", "dts", "duration", "flags", "lead", "pts", "track_id")

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        pts: Instant,
        *,
        dts: Instant | None = None,
        duration: Duration = 0,
        key_frame: bool = False,
        track_id: int = 1,
        flags: int = 0,
        lead: Duration = 0,
    ) -> None:
        # Times are in ticks already, mostly: only then this is quick.
        if type(data) is not bytes:
            data = _to_bytes(data)
        if type(pts) is not int:
            pts = instant_to_ticks(pts)
        if dts is None:
            dts = pts
        elif type(dts) is not int:
            dts = instant_to_ticks(dts)
        if type(duration) is not int:
            duration = to_ticks(duration)
        if type(lead) is not int:
            lead = to_ticks(lead)
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
        """Whether decoding can start here."""
        return bool(self.flags & FLAG_KEY)

    @classmethod
    def end_of_fragment(cls) -> Frame:
        """The frame without data that closes the fragment being written."""
        return cls(b"", 0, track_id=0, flags=FLAG_END_OF_FRAGMENT)

    @classmethod
    def from_packet(cls, packet: MediaPacket, *, track_id: int = 1, offset: int = 0) -> Frame:
        """The frame of a demuxed packet (a PyAV `av.Packet`), `offset` ticks later.

        Audio packets get no key flag: FFmpeg marks each of them, and fragments begin with pictures
        (in a stream of sound alone, with any packet). A missing pts is the dts and the other way
        round; raises INVALID_ARG when both are missing or the packet has no time base.
        """
        pts = packet.dts if packet.pts is None else packet.pts
        dts = pts if packet.dts is None else packet.dts
        base = packet.time_base
        if pts is None or dts is None or not base:
            raise InvalidFrame(StatusCode.INVALID_ARG, "the packet has no timestamp or time base")
        scale = TICKS_PER_SECOND * base
        return cls(
            bytes(packet),
            int(pts * scale) + offset,
            dts=int(dts * scale) + offset,
            duration=int((packet.duration or 0) * scale),
            key_frame=packet.is_keyframe and not _is_audio(packet),
            track_id=track_id,
        )

    def __repr__(self) -> str:
        return (
            f"Frame({len(self.data)} bytes, pts={self.pts}, dts={self.dts}, "
            f"duration={self.duration}, flags={self.flags}, track_id={self.track_id})"
        )


def check_types(frame: object, stream: str) -> None:
    """Raise INVALID_ARG for what is not a frame, or has members that are not of their types."""
    if not isinstance(frame, Frame):
        why = f"put_frame takes a Frame, not {type(frame).__name__}; make one: Frame(data, pts)"
        raise InvalidFrame(StatusCode.INVALID_ARG, why, stream=stream)
    times = type(frame.pts) is type(frame.dts) is type(frame.duration) is type(frame.lead) is int
    if times and type(frame.data) is bytes and type(frame.track_id) is type(frame.flags) is int:
        return  # nearly always
    for name, right in _MEMBERS:
        value = getattr(frame, name)
        if not isinstance(value, right):
            why = f"the frame's {name} is of type {type(value).__name__}, not {right.__name__}"
            raise InvalidFrame(StatusCode.INVALID_ARG, why, stream=stream)


def _is_audio(packet: MediaPacket) -> bool:
    """Whether a packet says that it comes from an audio stream (`av.Packet.stream.type`)."""
    return getattr(getattr(packet, "stream", None), "type", None) == "audio"


def _to_bytes(data: object) -> bytes:
    """Copy what a caller gave as a frame's data; raises INVALID_ARG when it is not bytes.

    `bytes(data)` alone would take more: it makes a gigabyte of zeros of the number 10**9, and a
    picture's pixels of an array.
    """
    if isinstance(data, bytes):
        return bytes(data)
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        if isinstance(data, int | str | list | tuple) or not hasattr(data, "__bytes__"):
            _refuse_data(f"is of type {type(data).__name__}")
        try:
            return bytes(data)
        except Exception as error:
            raise InvalidFrame(
                StatusCode.INVALID_ARG, f"bytes() of the frame's data failed: {error!r}"
            ) from error
    if view.ndim != 1 or view.itemsize != 1:
        shape = "x".join(map(str, view.shape or ()))
        _refuse_data(f"is an array of {shape} items of {view.itemsize} bytes, not encoded media")
    return view.tobytes()


def _refuse_data(what: str) -> NoReturn:
    raise InvalidFrame(
        StatusCode.INVALID_ARG,
        f"the frame's data {what}; give the bytes of one encoded picture or audio packet. Pixels"
        " have to be encoded first, for example with PyAV:"
        " av.CodecContext.create('libx264', 'w')",
    )
