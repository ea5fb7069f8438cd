"""Media for tests: frames that say in their payload who put them, and when they are to be shown.

A `Camera` gives the frames of one or two tracks in decoding order: groups of pictures of random
length and size, with or without B-frames, and beside them sound on up to two tracks. Every payload
has the camera's and the frame's number, so that `frame_name` finds out what a service has stored;
pictures may be Annex-B byte streams, whose parameter sets change at times.
All from one `random.Random`; times in ticks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from kvsproducer.client import Frame

__all__ = ["AUDIO", "VIDEO", "Camera", "Shot", "frame_name", "parameter_set"]

VIDEO: Final = 1
AUDIO: Final = 2
_NAME_BYTES: Final = 8
_COUNT_DIGITS: Final = 5  # of the name's, to the base of 128; the others are the camera's
_KEY_SLICE, _SLICE, _LENGTH_BYTES = 0x65, 0x41, 4
_SPS: Final = tuple(
    bytes.fromhex(text)
    for text in (
        "6742c00ada11e840000003004000000c83c489a8",
        "6742c00ada083684000003000400000300c83c489a80",
    )
)
_PPS: Final = bytes.fromhex("68ce3c80")


@dataclass(frozen=True, slots=True)
class Shot:
    """How a camera takes pictures; times in ticks, `bytes` the usual size of a picture."""

    interval: int
    gop: int  # the usual number of pictures in a group
    b_frames: int
    bytes: int
    audio_interval: int  # 0: no audio
    sounds: int = 1  # tracks of audio
    annex_b: bool = False  # pictures as byte streams with start codes

    @property
    def longest_gop(self) -> int:
        """Ticks that a group of pictures takes at most."""
        return int(self.gop * 1.6 + 1) * self.interval

    @property
    def largest_gop(self) -> int:
        """Bytes that a group of pictures takes in a store at most."""
        pictures = int(self.gop * 1.6 + 1)
        return pictures * (self.bytes * 3 // 2 + 1500) + 10 * self.bytes


def frame_name(payload: bytes) -> tuple[int, int]:
    """The numbers of the camera and of the frame that a stored payload belongs to.

    Of a picture with NAL units behind their lengths, the first slice has them.
    """
    at = 0
    while payload[at] == 0:  # a length: no name has a zero
        if payload[at + _LENGTH_BYTES] in (_KEY_SLICE, _SLICE):
            at += _LENGTH_BYTES + 1
            break
        at += _LENGTH_BYTES + int.from_bytes(payload[at : at + _LENGTH_BYTES], "big")
    digits = [byte & 0x7F for byte in payload[at : at + _NAME_BYTES]]
    camera = _number(digits[: _NAME_BYTES - _COUNT_DIGITS])
    return camera, _number(digits[_NAME_BYTES - _COUNT_DIGITS :])


def parameter_set(payload: bytes) -> bytes:
    """The sequence parameter set that a stored picture begins with; empty for none."""
    length = int.from_bytes(payload[:_LENGTH_BYTES], "big")
    unit = payload[_LENGTH_BYTES : _LENGTH_BYTES + length]
    return unit if payload[0] == 0 and unit in _SPS else b""


def _number(digits: list[int]) -> int:
    value = 0
    for digit in digits:
        value = value << 7 | digit
    return value


def _digits(number: int, count: int) -> bytes:
    return bytes(0x80 | number >> 7 * place & 0x7F for place in reversed(range(count)))


class Camera:
    """Gives frames, `next_frame` by `next_frame`; `due` is when the next one is taken."""

    def __init__(self, number: int, shot: Shot, start: int, dice: random.Random) -> None:
        self.number = number
        self.count = 0
        self._shot = shot
        self._dice = dice
        self._start = start
        self._first = 0  # picture number of the group
        self._order: list[int] = []  # display positions still to come, in decoding order
        self._length = 0
        self._picture = 0  # the next picture, in decoding order
        # Of each track with sound, when its next frame begins.
        first = start + shot.b_frames * shot.interval
        shift = shot.audio_interval // 3
        self._sound_at = (
            {AUDIO + number: first + number * shift for number in range(shot.sounds)}
            if shot.audio_interval
            else {}
        )
        self._sps = 0
        self.stored = b""  # what a service is to store of the newest frame
        self._begin_group()

    def _begin_group(self) -> None:
        """Lay out a group: each reference picture before the B-frames that it follows."""
        gop, step = self._shot.gop, self._shot.b_frames + 1
        length = max(1, int(gop * self._dice.uniform(0.4, 1.6)))
        order, shown = [0], 1
        while shown < length:
            reference = min(shown + step - 1, length - 1)
            order.append(reference)
            order.extend(range(shown, reference))
            shown = reference + 1
        self._first, self._order, self._length = self._picture, order, length

    @property
    def due(self) -> int:
        """When the next frame is put: its decoding time."""
        picture = self._start + self._picture * self._shot.interval
        return min(picture, *self._sound_at.values()) if self._sound_at else picture

    def next_frame(self) -> Frame:
        """The next frame in decoding order."""
        shot = self._shot
        picture_dts = self._start + self._picture * shot.interval
        if self.due < picture_dts:
            track = min(self._sound_at, key=self._sound_at.__getitem__)
            pts = self._sound_at[track]
            self._sound_at[track] += shot.audio_interval
            data = self.stored = self._payload(max(1, shot.bytes // 16))
            return Frame(data, pts, duration=shot.audio_interval, track_id=track)
        if not self._order:
            self._begin_group()
        position = self._order.pop(0)
        shown = self._first + position + shot.b_frames
        size = self._dice.randrange(shot.bytes // 2, shot.bytes * 3 // 2 + 1)
        frame = Frame(
            self._picture_of(size * 4 if position == 0 else size, key=position == 0),
            self._start + shown * shot.interval,
            dts=picture_dts,
            duration=shot.interval,
            key_frame=position == 0,
            track_id=VIDEO,
        )
        self._picture += 1
        return frame

    def skip(self, ticks: int) -> None:
        """The camera was off for so long."""
        self._start += ticks
        for track in self._sound_at:
            self._sound_at[track] += ticks

    def _payload(self, size: int) -> bytes:
        name = _digits(self.number, _NAME_BYTES - _COUNT_DIGITS) + _digits(
            self.count, _COUNT_DIGITS
        )
        self.count += 1
        return name + self._dice.randbytes(size).replace(b"\0", b"\1")

    def _picture_of(self, size: int, *, key: bool) -> bytes:
        """A picture as it is put; `stored` becomes what is to come of it."""
        data = self.stored = self._payload(size)
        if not self._shot.annex_b:
            return data
        dice = self._dice
        header = bytes([_KEY_SLICE if key else _SLICE])
        units = [header + data]
        if size > 100 and dice.random() < 0.2:  # another slice
            units.append(header + self._dice.randbytes(20).replace(b"\0", b"\1"))
        if key:
            if dice.random() < 0.1:
                self._sps = dice.randrange(len(_SPS))
            units[:0] = [_SPS[self._sps], _PPS]
        self.stored = b"".join(len(u).to_bytes(_LENGTH_BYTES, "big") + u for u in units)
        return b"".join(dice.choice((b"\0\0\1", b"\0\0\0\1")) + unit for unit in units)
