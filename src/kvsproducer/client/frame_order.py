"""Puts the frames of several tracks into one order before they are packaged.

Source: AWS's frame order coordinator. Each track has a queue. A frame is released only when every
track has one. The frame with the smallest dts or pts, in timecode units, is released first. If
frames of tracks of different types have equal times, the frame that is released second is moved by
a timecode unit. In a mode without comparison, frames are released in the order in which they were
put. (In that mode AWS's client always takes the last track.) No data is copied.

The following rules are not AWS's. Its coordinator loses frames in three cases: when pictures are
shown in another order than decoded (B-frames), after jumps of time, and when a track ends.

* Decode times must not decrease over all tracks (the view requires it). But sound that is heard
  before a picture may be decoded after it. So if a frame's decode time is later than that of a
  frame in another queue, it is lowered to that time. Only presentation times are sent.
* After the time of a track jumps back, its frames belong to a later *epoch*. Frames of earlier
  epochs are released first, whatever their times, and are not compared with later ones.
* A track without frames must not block the others forever. `find_overdue` finds such a track, and
  the coordinator does not wait for tracks in `silent`.
* Nothing in a fragment may be shown before the fragment starts. So a key frame of pictures is
  compared by the start of its fragment, and earlier sound goes into the previous fragment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Sequence
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
    # the compared time; None: the order of the puts
    _M.MULTI_TRACK_NO_COMPARISON: None,
    _M.DTS_ONE_MS_COMPENSATE: attrgetter("dts"),
    _M.PTS_ONE_MS_COMPENSATE: attrgetter("pts"),
    _M.DTS_ONE_MS_COMPENSATE_EOFR: attrgetter("dts"),
    _M.PTS_ONE_MS_COMPENSATE_EOFR: attrgetter("pts"),
}
_NO_EOFR: Final = frozenset({_M.DTS_ONE_MS_COMPENSATE, _M.PTS_ONE_MS_COMPENSATE})
_KEY_AFTER_EOFR: Final = frozenset({_M.DTS_ONE_MS_COMPENSATE, _M.DTS_ONE_MS_COMPENSATE_EOFR})


class FrameOrderCoordinator:
    """The queues of one stream.

    After each `put`, the caller takes all frames that `ready` yields.
    """

    __slots__ = (
        "_beginning",
        "_epochs",
        "_force_key",
        "_head",
        "_key",
        "_key_seen",
        "_mode",
        "_next_track",
        "_original_pts",
        "_places",
        "_queues",
        "_scale",
        "_serial",
        "_types",
        "original_pts",
        "silent",
        "size_bytes",
    )

    def __init__(self, tracks: Sequence[TrackInfo], mode: FrameOrderMode, scale: int) -> None:
        self._mode = mode
        self._key = _KEYS[mode]
        self._scale = scale
        # Of each track: (serial number, frame, epoch).
        self._queues: dict[int, deque[tuple[int, Frame, int]]] = {
            track.track_id: deque() for track in tracks
        }
        self._epochs = dict.fromkeys(self._queues, 0)  # epoch of each track's next frame
        self.silent: set[int] = set()  # tracks that the others do not wait for
        self.size_bytes = 0  # about how many bytes the queued frames will take in a store
        self._types = {track.track_id: track.track_type for track in tracks}
        types = frozenset(self._types.values())
        # Fragments begin with pictures, if there are any.
        self._beginning = types & {TrackType.VIDEO} or types
        self._serial = 0
        self._places: dict[Frame, int] = {}  # serial numbers of frames that will be queued later
        self._original_pts: dict[Frame, int] = {}  # the original pts of frames that were moved
        self.original_pts = 0  # the original pts of the last frame from `ready`
        self._key_seen = False
        self._force_key = False
        self._head: tuple[int, Frame, int] | None = None  # the last frame from `ready`
        self._next_track: int | None = (
            None  # the track of the frame that was put back: it goes next
        )

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def check(self, frame: Frame) -> None:
        """Raise an error if `put` must not take the frame; change nothing.

        Raises MKV_TRACK_INFO_NOT_FOUND, and MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED if
        too many frames of the track are queued. Raises SETTING_KEY_FRAME_FLAG_WHILE_USING_EOFR for
        an end-of-fragment frame after a key frame, in a mode that allows only one of the two.
        """
        if frame.flags & FrameFlags.END_OF_FRAGMENT:
            if self._mode in _NO_EOFR and self._key_seen:
                raise kvs_error(
                    StatusCode.SETTING_KEY_FRAME_FLAG_WHILE_USING_EOFR,
                    f"frame_order_mode {self._mode.name} takes key frames or end-of-fragment "
                    "frames, not both, and a key frame was put before",
                )
            return
        queue = self._queues.get(frame.track_id)
        if queue is None:
            raise kvs_error(
                StatusCode.MKV_TRACK_INFO_NOT_FOUND,
                f"the frame has track_id {frame.track_id}; the stream has {sorted(self._queues)}",
            )
        if len(queue) > limits.MAX_TRACK_QUEUE_FRAMES:
            raise kvs_error(
                StatusCode.MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED,
                f"{len(queue)} frames of track {frame.track_id} wait for a frame of another track; "
                "put frames of all tracks, or set frame_order_mode to PASS_THROUGH",
            )

    def reserve(self, frame: Frame) -> None:
        """Reserve a place in the order of puts for a frame that will be queued later."""
        self._serial += 1
        self._places[frame] = self._serial

    def replace(self, given: Frame, used: Frame) -> None:
        """Transfer the reserved place of a frame to the frame that replaces it."""
        self._places[used] = self._places.pop(given)

    def put(self, frame: Frame) -> None:
        """Queue a frame that has passed `check`."""
        place = self._places.pop(frame, None) if self._places else None
        if place is None:
            self._serial += 1
            place = self._serial
        self._key_seen |= frame.key_frame
        epoch = self._epochs[frame.track_id]
        self._queues[frame.track_id].append((place, frame, epoch))
        self.size_bytes += len(frame.data) + limits.ITEM_OVERHEAD_BYTES

    def join_epoch(self, track_id: int, *, back: bool = False) -> None:
        """Assign the next frames of a track to the newest epoch, because its time has jumped.

        A jump back (`back`) begins a new epoch, unless another track has already begun one.
        """
        newest = max(self._epochs.values())
        self._epochs[track_id] = newest + (back and self._epochs[track_id] == newest)

    def find_overdue(self, grace: int, size_bytes: int) -> list[int]:
        """Return the tracks without frames for which the other tracks have waited too long.

        The limit is `grace` ticks of media in one queue, or `size_bytes` bytes in all queues.
        """
        empty = [t for t, queue in self._queues.items() if not queue and t not in self.silent]
        if not empty:
            return []
        if self.size_bytes <= size_bytes and not any(
            queue and queue[-1][2] == queue[0][2] and queue[-1][1].dts - queue[0][1].dts > grace
            for queue in self._queues.values()
        ):
            return []
        return empty

    def find_lacking(self, begins: Container[int]) -> list[int]:
        """Return the tracks without frames, if a key frame of a track in `begins` is queued.

        Otherwise return an empty list.
        """
        if not any(
            frame.key_frame
            for track_id, queue in self._queues.items()
            if track_id in begins
            for _, frame, _ in queue
        ):
            return []
        return [t for t, queue in self._queues.items() if not queue and t not in self.silent]

    def ready(self, *, flush: bool = False) -> Iterator[Frame]:
        """Yield the frames that can be released, in order; with `flush`, yield all of them."""
        while True:
            heads = [queue for queue in self._queues.values() if queue]
            waits = any(not q and t not in self.silent for t, q in self._queues.items())
            if not heads or (waits and not flush):
                return
            epoch = min(queue[0][2] for queue in heads)
            yield self._next([queue for queue in heads if queue[0][2] == epoch])

    def end_fragment(self) -> None:
        """Record that the fragment was ended, after all queued frames.

        In AWS's modes that compare dts, the next frame becomes a key frame. In a mode that allows
        key frames or end-of-fragment frames but not both, this does not happen if the caller flags
        key frames.
        """
        keys_by_caller = self._mode in _NO_EOFR and self._key_seen
        self._force_key = self._mode in _KEY_AFTER_EOFR and not keys_by_caller

    @property
    def original_dts(self) -> int:
        """The original dts of the last frame that `ready` yielded."""
        assert self._head is not None, "only asked about a frame that was given"
        return self._head[1].dts

    @property
    def last_epoch(self) -> int:
        """The epoch of the last frame that `ready` yielded."""
        assert self._head is not None, "only asked about a frame that was given"
        return self._head[2]

    def put_back(self, frame: Frame) -> None:
        """Put the last frame from `ready`, which was yielded as `frame`, back into its queue."""
        assert self._head is not None, "only called with a frame that was given"
        given = self._head[1]
        self._queues[given.track_id].appendleft(self._head)
        self.size_bytes += len(given.data) + limits.ITEM_OVERHEAD_BYTES
        self._force_key |= frame.key_frame and not given.key_frame
        self._original_pts[given] = self.original_pts
        # a second comparison would move the times of the others again
        self._next_track = given.track_id

    def waiting_pts(self) -> list[int]:
        """Return the original pts of the queued frames."""
        queues = self._queues.values()
        return [
            self._original_pts.get(frame, frame.pts) for queue in queues for _, frame, _ in queue
        ]

    def take_all(self) -> list[Frame]:
        """Remove and return all queued frames, which will not be stored."""
        frames = [frame for queue in self._queues.values() for _, frame, _ in queue]
        for queue in self._queues.values():
            queue.clear()
        self.size_bytes = 0
        self._next_track = None
        self._places.clear()
        self._original_pts.clear()
        return frames

    def _next(self, queues: list[deque[tuple[int, Frame, int]]]) -> Frame:
        if self._next_track is not None:
            best, self._next_track = self._queues[self._next_track], None
        elif self._key is None:
            best = min(queues, key=lambda queue: queue[0][0])
        else:
            best = queues[0]
            for queue in queues[1:]:
                best = self._pick_earlier(best, queue)
        self._head = best.popleft()
        frame = self._head[1]
        self.original_pts = (
            self._original_pts.pop(frame, frame.pts) if self._original_pts else frame.pts
        )
        self.size_bytes -= len(frame.data) + limits.ITEM_OVERHEAD_BYTES
        limit = min((queue[0][1].dts for queue in queues if queue is not best), default=frame.dts)
        if frame.dts > limit:
            frame = _copy_with(frame, dts=limit)
        if self._force_key and self._types[frame.track_id] in self._beginning:
            self._force_key = False
            frame = _copy_with(frame, flags=frame.flags | FrameFlags.KEY)
        return frame

    def _pick_earlier(
        self, first: deque[tuple[int, Frame, int]], second: deque[tuple[int, Frame, int]]
    ) -> deque[tuple[int, Frame, int]]:
        """Return the queue whose frame is released first.

        If the times are equal and the tracks are of different types, move the other queue's frame
        by a timecode unit.
        """
        assert self._key is not None, "only called with a time to compare"
        left, right = first[0][1], second[0][1]
        left_time, right_time = self._time(left) // self._scale, self._time(right) // self._scale
        if left_time != right_time:
            return first if left_time < right_time else second
        if self._types[left.track_id] is not self._types[right.track_id]:
            if self._can_begin(right) and not self._can_begin(left):
                first, second = second, first
            serial, delayed, epoch = second[0]
            moved = _copy_with(delayed, pts=delayed.pts + self._scale)
            self._original_pts[moved] = self._original_pts.pop(delayed, delayed.pts)
            second[0] = (serial, moved, epoch)
        return first

    def _can_begin(self, frame: Frame) -> bool:
        """Return whether a fragment may begin with the frame: a key frame of a video track."""
        return frame.key_frame and self._types[frame.track_id] is TrackType.VIDEO

    def _time(self, frame: Frame) -> int:
        """Return the time in ticks by which a frame is compared with frames of other tracks."""
        assert self._key is not None, "only called with a time to compare"
        if self._can_begin(frame):
            return frame.pts - frame.lead
        time: int = self._key(frame)
        return time


def _copy_with(
    frame: Frame, *, pts: int | None = None, dts: int | None = None, flags: int | None = None
) -> Frame:
    """Return a copy with other values; the original does not change."""
    return Frame(
        frame.data,
        frame.pts if pts is None else pts,
        dts=frame.dts if dts is None else dts,
        duration=frame.duration,
        track_id=frame.track_id,
        flags=frame.flags if flags is None else flags,
        lead=frame.lead,
    )
