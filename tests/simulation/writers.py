"""The application of a simulated world: a writer that puts a camera's frames into one stream.

It does what applications do, at any moment: flush, metadata, reset, stop, free and open again. An
offline writer that is told to wait tries again only when it is told that there is space, so that a
wake-up that never comes is found out at its deadline.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tests.simulation.books import Books, Broken
from tests.simulation.conditions import Conditions
from tests.simulation.frames import VIDEO, Camera, Shot
from tests.simulation.source_clock import Silences, SourceClock, Stamped
from tests.simulation.surroundings import Surroundings

from kvsproducer import client as core
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND, ticks
from kvsproducer.limits import OFFLINE_TRACK_GRACE, TRACK_GRACE
from kvsproducer.status import KvsError, StatusCode

__all__ = ["Writer"]

_S = StatusCode
_REFUSALS: Final = frozenset(
    {
        _S.STREAM_HAS_BEEN_STOPPED,
        _S.STORE_OUT_OF_MEMORY,
        _S.MULTIPLE_CONSECUTIVE_EOFR,
        _S.CONTENT_VIEW_NO_MORE_ITEMS,
        _S.CONTENT_VIEW_INVALID_TIMESTAMP,
        _S.END_OF_FRAGMENT_FRAME_INVALID_STATE,
        _S.MKV_INVALID_FRAME_TIMESTAMP,
        _S.MKV_LARGE_FRAME_TIMECODE,
        _S.MKV_TRACK_INFO_NOT_FOUND,
        _S.MKV_INVALID_FRAME_DATA,
        _S.MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED,
        _S.MAX_FRAGMENT_METADATA_COUNT,
        _S.DUPLICATE_STREAM_EVENT_TYPE,
        _S.STREAM_NOT_STARTED,
        _S.STREAM_SHUTTING_DOWN,
    }
)
_MISTIMED: Final = (_S.CONTENT_VIEW_INVALID_TIMESTAMP, _S.MKV_INVALID_FRAME_TIMESTAMP)
_MOST_REFUSED: Final = 4  # pictures in a row, for their times
_STEADY: Final = 16  # pictures in a row after which a single one that is far off is found
_PAUSE: Final = 10 * TICKS_PER_SECOND  # in which a fragment may be ended since it is idle
_MAX_METADATA: Final = 3  # queued by a writer between two of its fragments


class Writer:
    """One application thread with one stream, which it may open several times, one by one."""

    def __init__(self, world: Surroundings, info: core.StreamInfo, shot: Shot, frames: int) -> None:
        self.world = world
        self.info = info
        self._shot = shot
        self._left = frames
        self.open()

    def open(self) -> None:
        """Open the stream and begin to film."""
        world = self.world
        self.stream = world.client.open_stream(self.info, world.clock.now)
        number = len(world.books)
        self.books = Books(number, self.stream.info)
        world.books.append(self.books)
        self.camera = Camera(number, self._shot, world.clock.now, world.dice)
        conditions = world.plan.conditions if self.info.frame_timecodes else Conditions()
        self.source_clock = SourceClock(
            world.source_dice if world.stormy else random.Random(0),
            conditions.time_jumps if world.stormy else 0.0,
            conditions.outliers if world.stormy else 0.0,
            interval=self._shot.interval,
        )
        self.silences = Silences(
            world.source_dice,
            conditions.silent_tracks if world.stormy else 0.0,
            [track.track_id for track in self.info.tracks],
        )
        self.books.silences = self.silences.possible
        self.books.mistimed = self.source_clock.wrong
        self._put_at = world.clock.now
        self._meddled = False  # the application did something else than put frames
        self._steady = 0  # pictures taken in a row, with nothing else between
        self._mistimed = 0  # pictures refused in a row for their times
        self._outlier: int | None = None  # the picture before, if it was far off amid steady ones
        self.pending: Stamped | None = None  # a frame that has to wait
        self._waits = 0  # counts, so that an old deadline knows that it is past
        self._woken = True
        self._metadata = 0
        self._descriptions = 0
        self._paused = False
        self._schedule()

    @property
    def finished(self) -> bool:
        """Whether everything was put that was to be put."""
        over = self.stream.stopped or self.stream.failure is not None
        return over or (not self._left and self.pending is None)

    @property
    def settled(self) -> bool:
        """Whether the stream holds nothing any more, or has given up."""
        return self.stream.failure is not None or not self.stream.account().held

    # --- filming --------------------------------------------------------------------------------
    def film(self, frames: int) -> None:
        """Go on for so many frames."""
        idle = not self._left and self.pending is None
        self._left += frames
        if idle:
            self._schedule()

    def _schedule(self) -> None:
        world, stream = self.world, self.stream
        if self.info.streaming_type is core.StreamingType.OFFLINE and self.info.frame_timecodes:
            wait = world.dice.randrange(20) * TICKS_PER_MS
        else:
            # Frames with the time of their put must not be put in one timecode unit.
            least = (
                0 if self.info.frame_timecodes else 2 * max(self.info.timecode_scale, TICKS_PER_MS)
            )
            wait = max(self.camera.due - world.clock.now, least)
        world.clock.later(wait, lambda: self._tick(stream))

    def _tick(self, stream: core.Stream) -> None:
        """Take a frame and put it."""
        world = self.world
        if stream is not self.stream or stream.stopped or self._paused or not self._left:
            return
        if self.pending is None:
            if world.dice.random() < world.plan.described:
                self._describe_fragment()
            self.pending = self._take()
            if self.pending.fault:
                world.service.count(self.pending.fault)
            self._left -= 1
        if self._put_pending():
            self._schedule()

    def _take(self) -> Stamped:
        """Take the next frame that is not missing."""
        frame = self.camera.next_frame()
        if self.silences.begin(frame.dts):
            self.world.service.count("silent track")
        while self.silences.silent(frame):
            self._left = max(self._left - 1, 1)
            frame = self.camera.next_frame()
        return self.source_clock.stamp(frame)

    def _put_pending(self) -> bool:
        """Put the frame that is in hand; False when it has to wait."""
        assert self.pending is not None, "the caller has one"
        try:
            self.put(self.pending)
        except core.WouldBlock as block:
            self._wait(block.deadline)
            return False
        self.pending = None
        return True

    def put(self, stamped: Stamped) -> bool:
        """Put a frame; whether it was accepted. Raises WouldBlock; refusals change nothing."""
        frame = stamped.frame
        world, stream, now = self.world, self.stream, self.world.clock.now
        before, waiting = stream.account(), stream.waiting
        used, latency = world.client.store.used_bytes, self._latency()[1]
        try:
            stream.put_frame(frame, now)
        except (KvsError, core.WouldBlock) as error:
            world.trace("refused", stream=self.info.name, dts=frame.dts, why=error)
            if isinstance(error, KvsError):
                self._check_refusal(error)
            own_fault = isinstance(error, KvsError) and error.status is not _S.STORE_OUT_OF_MEMORY
            self._check_unchanged(before, waiting, None if own_fault else used, error)
            if isinstance(error, core.WouldBlock):
                raise
            self._check_times(stamped, error.status)
            return False
        after = stream.account()
        accepted = after.accepted > before.accepted
        if accepted:
            self._check_latency(frame, latency)
        else:
            self._steady = 0
        number = self.camera.count - 1
        self.books.note_put(number, frame, self._own_time(), self.camera.stored, stamped.moved)
        if world.plan.conditions.clock_steps and not self.info.frame_timecodes:
            world.hear()  # of the time that the frame was given: the clock may be set back
            self._check_stamp(frame, accepted=accepted)
        self._check_times(stamped, None)
        # After a pause the idle fragment was ended: what waited is out.
        self._meddled |= now - self._put_at > _PAUSE
        self._put_at = now
        self._check_silence(frame)
        world.trace("put", stream=self.info.name, frame=frame, accepted=accepted)
        if frame.key_frame and self.info.key_frame_fragmentation:
            self._metadata = 0
        return accepted

    def _own_time(self) -> int:
        """The time that a stream without times of its own gives a frame that is put now."""
        ahead, clock = self.stream._intake._clock_offset, self.world.clock
        return clock.now + (clock.offset if ahead is None else ahead)

    def _check_stamp(self, frame: core.Frame, *, accepted: bool) -> None:
        """The times that a stream gives are the wall clock's from each key frame on."""
        clock = self.world.clock
        begins = accepted and frame.key_frame and frame.track_id == self.info.tracks[0].track_id
        if begins and self._own_time() != clock.wall and not self.books.silent:
            raise Broken(f"a fragment begins at {self._own_time()}, it is {clock.wall}")

    def _check_unchanged(
        self, before: core.FrameAccount, waiting: int, used: int | None, error: Exception
    ) -> None:
        """A frame that is refused costs nothing: no other one is given up for it.

        `used` bytes of the store were in use, None if room may have been made before the frame was
        looked at. The refused frame may have decided on frames that waited for others, which were
        accepted before: these are stored, dropped or skipped now, and take room.
        """
        after = self.stream.account()
        same = after.accepted + after.skipped == before.accepted + before.skipped
        same = same and after.persisted == before.persisted
        decided = waiting - self.stream.waiting
        if used is not None:
            given_up = after.dropped - before.dropped + after.skipped - before.skipped
            same = same and given_up <= decided
            same = same and (decided > 0 or self.world.client.store.used_bytes <= used)
        if not same:
            raise Broken(f"a refused frame changed {before} to {after}: {error}") from error

    def _check_times(self, stamped: Stamped, refused: StatusCode | None) -> None:
        """Pictures go on after a time that jumps, and after a single one that is wrong."""
        if stamped.frame.track_id != VIDEO:
            return
        before, self._outlier = self._outlier, None
        if refused in _MISTIMED:
            self._mistimed += 1
            self._steady = 0
            if self._mistimed > _MOST_REFUSED:
                raise Broken(f"{self._mistimed} pictures in a row are refused for their times")
            if before is not None and not stamped.moved:
                raise Broken(f"picture {before} was far off, and the next one is refused for it")
            return
        self._mistimed = 0
        if refused is not None:
            self._steady = 0
            return
        if before is not None:
            self.books.note_outlier(before)
        if stamped.moved and self._steady > _STEADY + 2 * self._shot.gop:
            self._outlier = self.camera.count - 1
        self._steady += 1

    def _check_silence(self, frame: core.Frame) -> None:
        """A track that is silent for long is left out; until then frames wait for it."""
        track, ticks = self.silences.lasted(frame.dts)
        grace = TRACK_GRACE
        if self.info.streaming_type is core.StreamingType.OFFLINE:
            grace = OFFLINE_TRACK_GRACE
        # Without an order of the tracks none waits: one is left out when a fragment ends.
        waits = self.info.frame_order_mode is not core.FrameOrderMode.PASS_THROUGH
        checked = waits and not (self.world.deaf or self.source_clock.wrong or self._meddled)
        if track and checked and ticks > grace + 6 * self._shot.interval:
            self.world.hear()
            if track not in self.books.silent:
                raise Broken(f"track {track} is silent, and the others wait for it")

    def _latency(self) -> tuple[int, int]:
        """Ticks of media that wait to be sent, and how often that was told to be too much."""
        if not self.stream.info.max_latency:
            return 0, 0
        figures = self.stream.metrics(self.world.clock.now)
        durations = {figures.current_view_duration, figures.overall_view_duration}
        if figures.current_view_size == figures.overall_view_size and len(durations) > 1:
            raise Broken(f"nothing was sent yet, and the view has two durations: {durations}")
        return figures.current_view_duration, figures.counters.latency_pressures

    def _check_latency(self, frame: core.Frame, before: int) -> None:
        """What waits for longer than it may is told with each frame, unless that waits alone.

        A frame that is held, since its time is far off, is not there yet.
        """
        waiting, told = self._latency()
        ordered = self.info.frame_order_mode is not core.FrameOrderMode.PASS_THROUGH
        limit = ticks(self.stream.info.max_latency) + frame.duration
        if waiting > limit and told == before and not (ordered or self.stream.waiting):
            raise Broken(f"{waiting} ticks of media wait to be sent, and nobody is told")

    def _check_refusal(self, error: KvsError) -> None:
        failure = self.stream.failure
        waits = error.status is _S.MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED
        if waits and self.books.silences:
            raise Broken(f"a silent track holds up the others: {error}")
        if error.status in _REFUSALS or (failure is not None and failure.status is error.status):
            return
        raise Broken(f"put_frame raised {error.status.name}: {error}") from error

    # --- waiting for space ----------------------------------------------------------------------
    def _wait(self, deadline: int) -> None:
        clock = self.world.clock
        if self.info.streaming_type is not core.StreamingType.OFFLINE:
            raise Broken("only offline writers wait")
        if deadline <= clock.now:
            raise Broken("a wait that is over already")
        self._waits += 1
        self._woken = False
        wait, stream = self._waits, self.stream
        clock.later(deadline - clock.now, lambda: self._deadline(wait, stream))

    def wake(self) -> None:
        """There may be space."""
        if not self._woken:
            self._woken = True
            stream = self.stream
            self.world.clock.later(
                self.world.dice.randrange(5) * TICKS_PER_MS, lambda: self._retry(stream)
            )

    def _retry(self, stream: core.Stream) -> None:
        if stream is self.stream and self.pending is not None and self._put_pending():
            self._schedule()

    def _deadline(self, wait: int, stream: core.Stream) -> None:
        """The wait is over: nobody has said that there is space, so there must be none."""
        if stream is not self.stream or wait != self._waits or self._woken:
            return
        assert self.pending is not None, "it waits"
        self._woken = True
        if stream.stopped or stream.failure is not None:
            raise Broken("a lost wake-up: the stream takes no more frames, and its writer waits")
        before = stream.account().accepted
        if self._put_pending():
            if stream.account().accepted > before:
                raise Broken("a lost wake-up: there was space, and no SpaceAvailable")
            self._schedule()

    # --- meddling -------------------------------------------------------------------------------
    def meddle(self) -> None:
        """Do something at random that an application may do."""
        world = self.world
        action = world.dice.choice(
            (
                self.flush,
                self.flush,
                self._describe_fragment,
                self._ask_for_images,
                self._reset_connection,
                self._reset_connection,
                self._reset,
                self.stop,
                self.reopen,
                self._pause,
                self._put_rubbish,
                self._look,
            )
        )
        world.trace("meddle", stream=self.info.name, action=action.__name__)
        self._outlier, self._steady, self._meddled = None, 0, True
        action()

    def flush(self) -> bool:
        """End the open fragment; return whether none is open now. It drops nothing that is held."""
        before, waiting = self.stream.account(), self.stream.waiting
        try:
            self.stream.end_fragment(self.world.clock.now)
        except core.WouldBlock:
            if not waiting:
                raise Broken("ending a fragment waits for space") from None
            return False
        except KvsError as error:
            if error.status is _S.STORE_OUT_OF_MEMORY:
                raise Broken(f"ending a fragment needs space: {error}") from error
            self._check_refusal(error)
            return False
        if self.stream.waiting:
            raise Broken(f"{self.stream.waiting} frames wait for others after a flush")
        if not waiting and self.stream.account() != before:
            raise Broken(f"ending a fragment changed {before} to {self.stream.account()}")
        return True

    def _quietly(self, action: Callable[[], object]) -> None:
        try:
            action()
        except KvsError as error:
            self._check_refusal(error)

    def _describe_fragment(self) -> None:
        if self._metadata >= _MAX_METADATA:
            return
        self._metadata += 1
        dice, now = self.world.dice, self.world.clock.now
        self._descriptions += 1
        name = f"key{dice.randrange(3)}"
        value = f"{self._descriptions}: {'x' * dice.randrange(100)}"
        persistent = dice.random() < 0.3
        this = not persistent and self._descriptions % 3 == 0  # without dice: the seeds stay valid
        fragment = "this" if this else "next"

        def describe() -> None:
            self.stream.put_fragment_metadata(name, value, persistent, now, fragment=fragment)
            self.books.note_metadata(name, value, persistent=persistent)

        self._quietly(describe)

    def _ask_for_images(self) -> None:
        if self._metadata >= _MAX_METADATA:
            return
        self._metadata += 1
        types = self.world.dice.choice((1, 2))
        self._quietly(lambda: self.stream.put_event(types, self.world.clock.now))

    def _reset_connection(self) -> None:
        self._quietly(lambda: self.stream.reset_connection(self.world.clock.now))

    def _reset(self) -> None:
        if not self.stream.stopped:
            self.books.emptied = True  # an application that is deaf may miss the event of it
            self._quietly(lambda: self.stream.reset(self.world.clock.now))

    def stop(self) -> None:
        """Take no more; the world opens the stream anew once it is closed."""
        self.stream.stop(self.world.clock.now)
        if not self._woken:
            self.world.settle()
            if not self._woken:
                raise Broken("a lost wake-up: the stream was stopped, and its writer waits")

    def free(self) -> None:
        """Throw the stream away; from then on it holds nothing."""
        self.stream.free(self.world.clock.now)
        self.world.hear()
        if self.stream.metrics(self.world.clock.now).overall_view_size:
            raise Broken("a freed stream has media in its view, by its own figures")
        self.books.check_account(self.stream.account(), heard=True)
        self.books.check_end(self.stream.account())

    def reopen(self) -> None:
        """Throw the stream away and open it anew."""
        self.free()
        if self.world.client.failure is None:
            self.open()

    def _pause(self) -> None:
        """The camera is off for a while, and ends its group of pictures."""
        self._paused = True
        stream, ticks = self.stream, self.world.dice.randrange(60 * TICKS_PER_SECOND)

        def go_on() -> None:
            if stream is self.stream:
                self._paused = False
                self.camera.skip(ticks)
                if self.pending is None:
                    self._schedule()

        self.world.clock.later(ticks, go_on)

    def resume(self) -> None:
        """The storm is over: film again, if the camera was off.

        What a stream that has ended was still to film of the storm is past as well.
        """
        if self.finished:
            self._left = 0
        if self._paused:
            self._paused = False
            if self.pending is None:
                self._schedule()

    def _put_rubbish(self) -> None:
        """Frames that must be refused, or skipped, and cost nothing."""
        now = self.world.clock.now
        kind = self.world.dice.randrange(5)
        if kind < 2:
            too_large = b"?" * self.world.client.store.size_bytes
            rubbish = core.Frame(too_large, now, key_frame=bool(kind))
        elif kind < 4:
            rubbish = core.Frame(b"", now, key_frame=kind == 2)
        else:
            rubbish = core.Frame(b"?" * 20, now, track_id=9)
        if self.info.frame_order_mode is core.FrameOrderMode.PASS_THROUGH:
            with suppress(core.WouldBlock):
                self._put_refusable(rubbish)

    def _put_refusable(self, frame: core.Frame) -> None:
        before = self.stream.account()
        self.books.senseless.append(frame.dts)
        try:
            self.stream.put_frame(frame, self.world.clock.now)
        except KvsError:
            if self.stream.account().accepted != before.accepted:
                raise Broken("a senseless frame changed the books") from None
            return
        if self.stream.account().accepted > before.accepted:
            raise Broken(f"{frame} was accepted")
        self.books.rubbish.append(frame.dts if self.info.frame_timecodes else self._own_time())

    def _look(self) -> None:
        """Ask for figures, and ask what makes no sense."""
        now = self.world.clock.now
        figures = self.stream.metrics(now)
        if figures.overall_view_size < figures.current_view_size or figures.current_view_size < 0:
            raise Broken(f"senseless figures: {figures}")
        self.world.client.metrics(now)
        self.stream.upload_ended(10**9, 500, now)
        self.stream.receive_ack(10**9, b'{"EventType":"IDLE"}', now)
        try:
            self.stream.next_buffers(10**9, 100, now)
        except KvsError as error:
            if error.status is not _S.UPLOAD_HANDLE_ABORTED:
                raise
