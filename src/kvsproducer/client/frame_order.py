"""Putting the frames of several tracks into one order before they are packaged.

Facts: AWS's frame order coordinator. One queue per track; a frame is emitted only when every track
has one: the smallest dts or pts, in timecode units, goes first; on equal times of tracks of
different type the later one is moved by a timecode unit. Without comparison the frames go in the
order in which they were put (AWS's client always takes the last track there). It copies no data.

Pictures that are shown in another order than they are decoded (B-frames) need two rules more, which
AWS's coordinator lacks; it loses the frames:

* Decode times must rise over all tracks (the view), but sound that is heard before a picture may be
  decoded after it. No frame keeps a decode time that is later than what waits in another queue: it
  gets that one's. Decode times stay in the client; only presentation times are sent.
* Nothing in a fragment may be shown before the fragment starts. A key frame of pictures is compared
  by that start, and so sound that is heard before it goes into the fragment before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final

from kvsproducer import limits
from kvsproducer.client.frame import Frame, FrameFlags
from kvsproducer.client.stream_info import FrameOrderMode
from kvsproducer.mkv.tracks import TrackInfo, TrackType
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["FrameOrderCoordinator"]

_M = FrameOrderMode
_KEYS: Final = {
    # the time that is compared; None: the order of the puts
    _M.MULTI_TRACK_NO_COMPARISON: None,
    _M.DTS_ONE_MS_COMPENSATE: attrgetter("dts"),
    _M.PTS_ONE_MS_COMPENSATE: attrgetter("pts"),
    _M.DTS_ONE_MS_COMPENSATE_EOFR: attrgetter("dts"),
    _M.PTS_ONE_MS_COMPENSATE_EOFR: attrgetter("pts"),
}
_NO_EOFR: Final = frozenset({_M.DTS_ONE_MS_COMPENSATE, _M.PTS_ONE_MS_COMPENSATE})
_KEY_AFTER_EOFR: Final = frozenset({_M.DTS_ONE_MS_COMPENSATE, _M.DTS_ONE_MS_COMPENSATE_EOFR})


class FrameOrderCoordinator:
    """The queues of one stream. Call `put`, then take frames with `ready` until it is exhausted."""

    __slots__ = (
        "_beginning",
        "_force_key",
        "_key",
        "_key_seen",
        "_mode",
        "_queues",
        "_scale",
        "_serial",
        "_types",
        "in_hand",
    )

    def __init__(self, tracks: Sequence[TrackInfo], mode: FrameOrderMode, scale: int) -> None:
        self._mode = mode
        self._key = _KEYS[mode]
        self._scale = scale
        self._queues: dict[int, deque[tuple[int, Frame]]] = {t.track_id: deque() for t in tracks}
        self._types = {track.track_id: track.track_type for track in tracks}
        types = frozenset(self._types.values())
        # What fragments begin with: pictures, if there are any.
        self._beginning = types & {TrackType.VIDEO} or types
        self._serial = 0
        self._key_seen = False
        self._force_key = False
        self.in_hand: Frame | None = None  # given out, until the taker says None

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    @property
    def size_bytes(self) -> int:
        """What the queued frames will take in a store, about."""
        queued = (frame for queue in self._queues.values() for _, frame in queue)
        return sum(len(frame.data) + limits.ITEM_OVERHEAD_BYTES for frame in queued)

    def check(self, frame: Frame) -> None:
        """Raise what `put` would, and change nothing.

        MKV_TRACK_INFO_NOT_FOUND, SETTING_KEY_FRAME_FLAG_WHILE_USING_EOFR (an end-of-fragment frame
        in a mode without), MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED.
        """
        if frame.flags & FrameFlags.END_OF_FRAGMENT:
            if self._mode in _NO_EOFR and self._key_seen:
                raise kvs_error(
                    StatusCode.SETTING_KEY_FRAME_FLAG_WHILE_USING_EOFR,
                    f"{self._mode.name} takes key frames or end-of-fragment frames, not both",
                )
            return
        queue = self._queues.get(frame.track_id)
        if queue is None:
            raise kvs_error(StatusCode.MKV_TRACK_INFO_NOT_FOUND, f"track id {frame.track_id}")
        if len(queue) > limits.MAX_TRACK_QUEUE_FRAMES:
            raise kvs_error(
                StatusCode.MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED,
                f"{len(queue)} frames of track {frame.track_id} wait for another track",
            )

    def put(self, frame: Frame) -> None:
        """Queue a frame that `check` allowed."""
        self._serial += 1
        self._key_seen |= frame.key_frame
        self._queues[frame.track_id].append((self._serial, frame))

    def ready(self, *, flush: bool = False) -> Iterator[Frame]:
        """Yield the frames whose turn it is; with `flush`, all of them."""
        while True:
            heads = [(number, queue) for number, queue in self._queues.items() if queue]
            if not heads or (len(heads) < len(self._queues) and not flush):
                return
            yield self._next([queue for _, queue in heads])

    def end_fragment(self) -> None:
        """Note that the fragment was ended, after everything that was queued.

        In the modes of AWS that compare dts the next frame becomes a key frame, unless the caller
        flags key frames in a mode that is for those.
        """
        keys_by_caller = self._mode in _NO_EOFR and self._key_seen
        self._force_key = self._mode in _KEY_AFTER_EOFR and not keys_by_caller

    def holds(self, frame: Frame) -> bool:
        """Whether the frame is still queued."""
        return any(frame is queued for queue in self._queues.values() for _, queued in queue)

    def give_up(self) -> Iterator[Frame]:
        """Yield the queued frames, which are not to go out, and forget them."""
        for queue in self._queues.values():
            while queue:
                frame = self.in_hand = queue[0][1]
                queue.popleft()
                yield frame

    def _next(self, queues: list[deque[tuple[int, Frame]]]) -> Frame:
        if self._key is None:
            best = min(queues, key=lambda queue: queue[0][0])
        else:
            best = queues[0]
            for queue in queues[1:]:
                best = self._earlier(best, queue)
        self.in_hand = best[0][1]
        frame = best.popleft()[1]
        limit = min((queue[0][1].dts for queue in queues if queue is not best), default=frame.dts)
        if frame.dts > limit:
            frame = _changed(frame, dts=limit)
        if self._force_key and self._types[frame.track_id] in self._beginning:
            self._force_key = False
            frame = _changed(frame, flags=frame.flags | FrameFlags.KEY)
        return frame

    def _earlier(
        self, first: deque[tuple[int, Frame]], second: deque[tuple[int, Frame]]
    ) -> deque[tuple[int, Frame]]:
        """The queue whose frame goes first; a tie moves the other's frame by a timecode unit."""
        assert self._key is not None, "only called with a time to compare"
        left, right = first[0][1], second[0][1]
        left_time, right_time = self._time(left) // self._scale, self._time(right) // self._scale
        if left_time != right_time:
            return first if left_time < right_time else second
        if self._types[left.track_id] is not self._types[right.track_id]:
            if self._begins(right) and not self._begins(left):
                first, second = second, first
            serial, delayed = second[0]
            second[0] = (serial, _changed(delayed, pts=delayed.pts + self._scale))
        return first

    def _begins(self, frame: Frame) -> bool:
        """Whether a fragment may begin with the frame: a picture that needs no other."""
        return frame.key_frame and self._types[frame.track_id] is TrackType.VIDEO

    def _time(self, frame: Frame) -> int:
        """The time in ticks by which a frame is compared with those of other tracks."""
        assert self._key is not None, "only called with a time to compare"
        if self._begins(frame):
            return frame.pts - frame.lead
        time: int = self._key(frame)
        return time


def _changed(
    frame: Frame, *, pts: int | None = None, dts: int | None = None, flags: int | None = None
) -> Frame:
    """Return a copy with other values; the caller's frame stays as it is."""
    return Frame(
        frame.data,
        frame.pts if pts is None else pts,
        dts=frame.dts if dts is None else dts,
        duration=frame.duration,
        track_id=frame.track_id,
        flags=frame.flags if flags is None else flags,
        lead=frame.lead,
    )
