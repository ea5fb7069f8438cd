"""Adjust timestamps at the border of two fragments so that the service accepts both.

PutMedia refuses a whole fragment (ack 4004) in two cases:

* Its timecode is not greater than the timecode of the previous fragment.
* The time of one of its blocks is not later than the latest block of the same track in the previous
  fragment.

It also refuses a fragment in which the blocks of one track span more than 20 s (ack 4002). The
service compares times in timecode units, so two different times may count as the same.

`fit` gives a frame a time that satisfies these rules, at most one timecode unit later. If a key
frame would have to move farther, it continues the open fragment instead of starting a new one.
"""

from __future__ import annotations

from typing import Final

from kvsproducer import limits
from kvsproducer.client.buffer.view import END_OF_FRAGMENT, FRAGMENT_START, ContentView
from kvsproducer.client.frame import FLAG_KEY, Frame
from kvsproducer.client.stream_info import StreamInfo
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.mkv.generator import MkvGenerator
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["Borders"]

# so many of the newest items of a fragment are searched for the latest times
_MAX_SEARCHED: Final = 128


class Borders:
    """The border between the open fragment of one stream and the previous fragment."""

    __slots__ = (
        "_generator",
        "_latest",
        "_name",
        "_next",
        "_next_moved",
        "_numbers",
        "_open_moved",
        "_scale",
        "_view",
        "least",
    )

    def __init__(self, info: StreamInfo, view: ContentView, generator: MkvGenerator) -> None:
        self._name = info.name
        self._view = view
        self._generator = generator
        self._scale = info.timecode_scale
        self._numbers = {track.track_id: n for n, track in enumerate(info.tracks, 1)}
        # The latest time of each track before the open fragment, by track number, in ticks.
        self._latest: dict[int, int] = {}
        self._next: dict[int, int] = {}  # the same for the fragment that is about to start
        # Whether the start of the open and of the next fragment was moved by a timecode unit.
        self._open_moved = self._next_moved = False
        # A frame at least so many ticks after the start of the open fragment needs no adjustment.
        self.least = 0

    def fit(self, frame: Frame, flags: int, *, join: bool) -> tuple[int, int]:
        """Return the pts to use for a frame, and the start of the fragment it begins, in ticks.

        If the frame begins no fragment, both values are the same. `join`: a key frame may continue
        the open fragment. Raises MKV_INVALID_FRAME_TIMESTAMP if the frame is too early for its
        fragment, and MKV_LARGE_FRAME_TIMECODE if it is more than 20 s after the fragment's start.
        """
        pts, generator, scale = frame.pts, self._generator, self._scale
        opened = generator.cluster_start[0]
        if flags & FLAG_KEY and generator.kind_of(flags, max(pts, opened)):
            return self._fit_start(frame, opened, join=join)
        ahead = pts - generator.block_start
        if self.least <= ahead <= limits.SERVICE_MAX_FRAGMENT_DURATION or not generator.block_room:
            return pts, pts
        if ahead > limits.SERVICE_MAX_FRAGMENT_DURATION:
            raise _too_long_error(ahead)
        unit, first = pts // scale, opened // scale
        if unit < first - self._open_moved:
            return pts, pts  # the generator raises
        before = self._latest.get(self._numbers.get(frame.track_id, 0), -1) // scale
        unit = max(unit, first)
        if unit == before:
            unit += 1
        elif unit < before:
            raise _too_early_error(unit, before)
        if unit > pts // scale:
            pts = unit * scale
        return pts, pts

    def _fit_start(self, frame: Frame, opened: int, *, join: bool) -> tuple[int, int]:
        """Do the work of `fit` for a frame that would begin a fragment.

        `opened` is the start of the open fragment, in ticks.
        """
        pts, generator, scale = frame.pts, self._generator, self._scale
        start = pts - frame.lead
        self._next_moved = False
        if not generator.started:
            return pts, start
        self._next = self._find_latest()
        latest = self._next.get(self._numbers.get(frame.track_id, 0), -1) // scale
        latest = max(latest, opened // scale)
        late = latest + 1 - start // scale
        if late == 1:
            self._next_moved = True
            start = (latest + 1) * scale
            pts = max(pts, start)
        elif late > 1 and start // scale >= opened // scale - self._open_moved:
            if not join:
                raise _too_early_error(start // scale, latest)
            pts = start = max(pts, opened)
            generator.keep_open(pts)
        return pts, start

    def check_order(self, dts: int) -> None:
        """Raise CONTENT_VIEW_INVALID_TIMESTAMP if a key frame goes back in time.

        A key frame that begins a session may go back.

        The caller makes this check before the generator begins a cluster, or a session for new
        parameter sets.
        """
        newest = self._view.newest
        if newest is None or not self._generator.started:
            return
        if dts // self._scale * self._scale < newest.timestamp:
            raise kvs_error(
                StatusCode.CONTENT_VIEW_INVALID_TIMESTAMP,
                f"the frame's dts {dts} is before {newest.timestamp}, "
                "the dts of the frame put before",
                stream=self._name,
            )

    def fits(self, frame: Frame) -> bool:
        """Return whether a frame far ahead begins a new fragment or fits into the open one."""
        if frame.flags & FLAG_KEY:
            return True
        generator = self._generator
        return 0 <= frame.pts - generator.block_start < generator.block_room

    def note_fragment_start(self, *, new_session: bool) -> None:
        """Record that the frame of the last `fit` has begun a fragment."""
        generator, scale = self._generator, self._scale
        self._open_moved = self._next_moved
        self._latest = {} if new_session else self._next
        self.least = 0
        if self._latest:
            latest = max(self._latest.values())
            self.least = max(latest - latest % scale + scale - generator.block_start, 0)
        longest = limits.SERVICE_MAX_FRAGMENT_DURATION + 1
        generator.block_room = min(generator.block_room, longest)

    def _find_latest(self) -> dict[int, int]:
        """Return the latest time of each track up to the end of the open fragment."""
        view = self._view
        latest, newest = dict(self._latest), view.newest
        assert newest is not None, "the generator started with an item"
        for index in range(max(newest.fragment, view.tail, view.head - _MAX_SEARCHED), view.head):
            item = view.items[index]
            if item.flags & END_OF_FRAGMENT:
                continue
            # the item's header ends with the header of its block
            time, header = item.ack_timestamp, item.header
            if item.flags & FRAGMENT_START:
                time += int.from_bytes(header[-3:-1], "big") * self._scale
            number = header[-4] & 0x7F
            if time > latest.get(number, -1):
                latest[number] = time
        return latest


def _too_early_error(unit: int, latest: int) -> KvsError:
    return kvs_error(
        StatusCode.MKV_INVALID_FRAME_TIMESTAMP,
        f"pts {unit} is not after {latest}, which the track reached in the fragment before"
        " (timecode units); the service would refuse the whole fragment",
    )


def _too_long_error(ahead: int) -> KvsError:
    return kvs_error(
        StatusCode.MKV_LARGE_FRAME_TIMECODE,
        f"the frame is {ahead / TICKS_PER_SECOND:.1f} s after its fragment's start, and the service"
        " takes at most 20 s: key frames must come more often. Frames are skipped up to the next"
        " key frame",
    )
