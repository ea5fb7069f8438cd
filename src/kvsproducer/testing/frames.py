"""Media for tests: frames that say in their payload who put them, and when they are to be shown.

A `Camera` gives the frames of one or two tracks in decoding order: groups of pictures of random
length and size, with or without B-frames, and beside them audio. Every payload begins with the
camera's and the frame's number, so that `frame_name` finds out what a service has stored.
All from one `random.Random`; times in ticks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from kvsproducer.client import Frame

__all__ = ["AUDIO", "VIDEO", "Camera", "Shot", "frame_name"]

VIDEO: Final = 1
AUDIO: Final = 2
_NAME_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Shot:
    """How a camera takes pictures; times in ticks, `bytes` the usual size of a picture."""

    interval: int
    gop: int  # the usual number of pictures in a group
    b_frames: int
    bytes: int
    audio_interval: int  # 0: no audio

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
    """The numbers of the camera and of the frame that a payload belongs to."""
    name = int.from_bytes(payload[:_NAME_BYTES], "big")
    return name >> 32, name & 0xFFFFFFFF


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
        self._audio_at = start + shot.b_frames * shot.interval
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
        return min(picture, self._audio_at) if self._shot.audio_interval else picture

    def next_frame(self) -> Frame:
        """The next frame in decoding order."""
        shot = self._shot
        picture_dts = self._start + self._picture * shot.interval
        if shot.audio_interval and self._audio_at < picture_dts:
            pts = self._audio_at
            self._audio_at += shot.audio_interval
            data = self._payload(max(1, shot.bytes // 16))
            return Frame(data, pts, duration=shot.audio_interval, track_id=AUDIO)
        if not self._order:
            self._begin_group()
        position = self._order.pop(0)
        shown = self._first + position + shot.b_frames
        size = self._dice.randrange(shot.bytes // 2, shot.bytes * 3 // 2 + 1)
        frame = Frame(
            self._payload(size * 4 if position == 0 else size),
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
        self._audio_at += ticks

    def _payload(self, size: int) -> bytes:
        name = (self.number << 32 | self.count).to_bytes(_NAME_BYTES, "big")
        self.count += 1
        return name + self._dice.randbytes(size)
