"""Merge the tracks into one sequence of frames, and decide where fragments begin.

The service has these rules (KVS documentation, "Fragments"). A fragment begins with a key frame,
has frames of every track, lasts at most 20 s from its first to its last frame, has at most 50 MB,
and starts after the last timestamp of the fragment before. The client requires that decode times
increase over all tracks, and that no frame of a fragment is shown before its first frame.

So a sound packet goes

- before a key frame that begins a fragment, if the sound is heard before that fragment starts;
  otherwise after it. Before the first fragment there is no open one, so all sound goes after the
  first key frame. The first fragment then includes the sound before its first picture.
- before any other picture, if the sound is not later than the pictures already put.

Pictures keep their own times; sound gets decode times between them. Leading pictures follow a key
frame but are shown before it (open groups, the default of x265). They belong to its fragment, which
starts with the first of them (`lead`). A key frame does not begin a fragment where this would
violate a rule: if its leading pictures overlap the fragment before, or if a track has no more
packets or had none in the open fragment.

To decide the order, a packet waits until the other track also has a packet. The wait is limited in
bytes, and for a live source in time. At the limit, the track with packets continues alone. The
stream does the same: when a track had no frame for the time `grace`, it begins a session without
the track. When the track returns, it begins another session (`kvsproducer.client.present`). In
between, fragments begin without that track. A frame that fits into no fragment is skipped. If it
exceeds a limit of the open fragment, all frames up to the next fragment are skipped too.
`skipped.py` counts skipped frames.

`fragment_duration` is a setting of the stream: a fragment ends at the next key frame after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack
from kvsproducer.sources.skipped import Reason, SkipLog
from kvsproducer.sources.timestamps import Timeline, TrackTimes
from kvsproducer.status import KvsError

__all__ = ["MAX_QUEUED_BYTES", "Interleaver"]

MAX_QUEUED_BYTES: Final = 128_000_000
"""Our limit: how many bytes are read ahead while waiting for a packet of the other track."""
_MAX_LEAD: Final = (
    10 * TICKS_PER_SECOND
)  # our limit: how much earlier than the first picture sound may start
_PAUSE: Final = (
    limits.FAR_TIMESTAMP // 2
)  # our limit: a step of both tracks by more than this is a pause
_PICTURES_OF_A_PAUSE: Final = 3  # number of pictures that the core waits for
_MARGIN: Final = (
    TICKS_PER_SECOND  # our value: a track waits this much longer than `grace` for the other one
)
_MAX_WARNINGS: Final = 10  # our limit: warnings about tracks that stop


class Interleaver:
    """Put the packets of `tracks` into one order; there is at most one video and one audio track.

    The module describes the rules. `timeline` has the offsets of the tracks' times. `grace` is a
    setting of the stream, in ticks of media: how long it waits for a track that stopped. With
    `live`, packets wait for the other track only for `grace` and 1 s more. A message is appended to
    `warnings` when a track stops.
    """

    def __init__(
        self,
        tracks: list[MediaTrack],
        *,
        fragment_duration: int,
        timeline: Timeline | None = None,
        live: bool = False,
        grace: int = limits.TRACK_GRACE,
        warnings: list[str] | None = None,
    ) -> None:
        self.timeline = timeline or Timeline()
        self.left_out = SkipLog()
        self._times = {track.kind: TrackTimes(track, self.timeline) for track in tracks}
        self._queues: dict[Kind, deque[MediaPacket]] = {track.kind: deque() for track in tracks}
        self._video = self._queues.get(Kind.VIDEO)
        self._audio = self._queues.get(Kind.AUDIO)
        self._alone = len(tracks) == 1
        self._live = live
        self.grace = grace
        self._warnings = [] if warnings is None else warnings
        self._stops = 0  # how often a track has stopped
        self._silent: Reason | None = None  # why the other track is not waited for
        self._waited_for: Kind | None = None  # the other track, in that case
        self._without = False  # whether the stream continues without it
        self._fragment_duration = fragment_duration
        self._queued_bytes = 0
        self._at_end = False
        self._waits_for_key: Reason | None = Reason.BEFORE_KEY if self._video is not None else None
        self._first: int | None = None  # pts of the first packet, from which positions count
        self._shown = -1  # latest presentation time of a picture so far, ms
        self._last_dts: int | None = None
        self._to_come_first = 0  # pictures that go before sound, after a pause
        self._sound_between = False  # whether sound has come since the last picture
        self._resuming = False  # whether the next picture is the first one after a pause
        self._ends: dict[Kind, int] = {}  # pts of the newest packet of each track
        self._fragment = _Fragment(set(self._queues))

    @property
    def repairs(self) -> int:
        """Number of timestamps that were derived."""
        return sum(times.repairs for times in self._times.values())

    def order(self, packets: Iterable[MediaPacket]) -> Iterator[MediaPacket]:
        """Yield the packets of all tracks in the order in which to put them, with final key flags.

        If reading `packets` fails, everything read before is yielded before the error is raised.
        """
        failure: KvsError | None = None
        try:
            try:
                for packet in packets:
                    self._queue(self._times[packet.kind].push(packet))
                    while ready := self._take():
                        yield ready
            except KvsError as error:
                failure = error
            self._at_end = True
            for times in self._times.values():
                self._queue(times.flush())
            while ready := self._take():
                yield ready
            if failure is not None:
                raise failure
        finally:  # the error and this frame would keep each other, and the codecs, alive
            del failure

    def _queue(self, packets: list[MediaPacket]) -> None:
        for packet in packets:
            if self._first is None:
                self._first = packet.pts
            if packet.kind is Kind.VIDEO:
                if packet.corrupt:
                    self._waits_for_key = Reason.DAMAGED
                elif packet.key_frame:
                    self._waits_for_key = None
                if self._waits_for_key is not None:
                    self.skip(packet, self._waits_for_key)
                    continue
                assert self._video is not None
                queue = self._video
            elif packet.corrupt:
                self.skip(packet, Reason.DAMAGED)
                continue
            else:
                assert self._audio is not None
                queue = self._audio
            if packet.kind is self._waited_for:
                self._silent = self._waited_for = None
                self._without = False
            queue.append(packet)
            self._queued_bytes += len(packet.data)

    def skip(self, packet: MediaPacket, reason: Reason) -> None:
        """Count `packet` as skipped."""
        assert packet.pts is not None
        self.left_out.add(packet, packet.pts - (self._first or 0), reason)

    def _take(self) -> MediaPacket | None:
        """Return the next packet to put, or None if more packets must be read first."""
        while queue := self._next_queue():
            start = self._start_of(queue)
            packet = queue.popleft()
            if self._to_come_first:
                self._sound_between = queue is self._audio
                self._to_come_first -= queue is self._video
                self._resuming = False
            self._queued_bytes -= len(packet.data)
            if self._place(packet, start):
                return packet
        return None

    def _next_queue(self) -> deque[MediaPacket] | None:
        """Return the queue with the next packet to put, or None if more must be read first."""
        video, audio = self._video, self._audio
        if video and audio:
            picture = video[0]
            if self._pictures_first(picture, audio[0]):
                return video if not picture.key_frame or self._leading_complete(video) else None
            if not picture.key_frame:
                assert picture.dts is not None
                before = max(_ms(picture.dts), self._shown + 1)
            elif not self._leading_complete(video):
                return None
            elif not self._fragment.open:
                # A fragment begins with a picture, even if sound is a little earlier.
                return audio if self._pauses(Kind.VIDEO) else video
            else:
                before = _ms(_first_shown(video))
            return audio if _ms(audio[0].pts) < before else video
        queue = video or audio
        if not queue or not (self._alone or self._is_overdue(queue) or self._at_end):
            return None
        if queue is video and queue[0].key_frame and not self._leading_complete(queue):
            return None
        return queue

    def _pictures_first(self, picture: MediaPacket, sound: MediaPacket) -> bool:
        """Return whether the next picture goes before the next sound, even if that is earlier.

        This is so after a pause of both tracks. The core accepts a pause only after three pictures
        with the later times. Until then it holds at most two sound packets with the later times,
        and refuses further ones as damaged.
        """
        assert picture.pts is not None
        assert sound.pts is not None
        if self._last_dts is not None and min(picture.pts, sound.pts) - self._last_dts > _PAUSE:
            self._resuming, self._to_come_first = True, _PICTURES_OF_A_PAUSE
        if not self._to_come_first or not (self._resuming or self._sound_between):
            return False
        may_end = self._fragment.may_end(picture.pts, self._fragment_duration)
        if picture.key_frame and may_end and not self._resuming:
            self._to_come_first = 0  # the sound before it belongs to the open fragment
            return False
        return True

    def _leading_complete(self, video: deque[MediaPacket]) -> bool:
        """Return whether all leading pictures of the first key frame in `video` were read."""
        if not self._times[Kind.VIDEO].reordered or self._at_end:
            return True
        key = _ms(video[0].pts)
        behind = islice(video, 2 if _begins_with_fields(video) else 1, None)
        return any(_ms(later.pts) > key for later in behind) or self._is_overdue(video)

    def _is_overdue(self, queue: deque[MediaPacket]) -> bool:
        """Return whether to stop waiting for more packets: a limit or the end was reached."""
        if self._silent is None:
            if self._queued_bytes > MAX_QUEUED_BYTES:
                self._stop(queue, Reason.FAR_APART)
            elif self._at_end or (self._live and self._outlasts_grace(queue)):
                self._stop(queue, Reason.SILENT_TRACK)
        return self._silent is not None

    def _outlasts_grace(self, queue: deque[MediaPacket]) -> bool:
        """Return whether the media in `queue` lasts longer than the stream waits for a track."""
        assert queue[-1].pts is not None
        assert queue[0].pts is not None
        since = max(queue[0].pts, self._last_dts or 0)  # a queued packet may be much older
        return queue[-1].pts - since > self.grace + _MARGIN

    def _pauses(self, kind: Kind) -> bool:
        """Return whether a track's next packet is so late that the stream goes on without it."""
        queue = self._queues[kind]
        if not queue:
            return False
        assert queue[0].pts is not None
        assert self._first is not None
        return queue[0].pts - self._ends.get(kind, self._first) > self.grace + _MARGIN

    def _stop(self, queue: deque[MediaPacket], reason: Reason) -> None:
        """Stop waiting for the other track, because only `queue` has packets; `reason` says why."""
        self._silent = reason
        self._waited_for = Kind.AUDIO if queue is self._video else Kind.VIDEO
        self._without = not self._alone and (
            self._outlasts_grace(queue) or (self._at_end and self._needs_fragments(queue))
        )
        if self._without and self._stops < _MAX_WARNINGS:
            self._stops += 1
            at = ((queue[0].pts or 0) - (self._first or 0)) / TICKS_PER_SECOND
            gone, rest = "sound", "video continues"
            if self._waited_for is Kind.VIDEO:
                gone, rest = "video", "sound continues"
            verb = "ends" if self._at_end else "stops"
            self._warnings.append(f"the {gone} {verb} at {at:.1f} s; the {rest} without it")

    def _needs_fragments(self, queue: deque[MediaPacket]) -> bool:
        """Return whether the pictures in `queue` need more fragments, and can begin them.

        The stream then ends the other track at its last frame (`PresentTracks.end`).
        """
        fits = self._fragment.fits(queue[-1].pts or 0)
        return queue is self._video and not fits and any(packet.key_frame for packet in queue)

    def _start_of(self, queue: deque[MediaPacket]) -> int:
        """Return the start of the fragment that begins with the first packet of `queue`.

        The first fragment, and the first one after a pause, starts with the sound before its first
        picture, at most 10 s earlier.
        """
        first = queue[0]
        assert first.pts is not None
        if not first.key_frame:
            return first.pts
        start = _first_shown(queue)
        begins = self._resuming or not self._fragment.open
        if self._audio and begins and queue is self._video:
            assert self._audio[0].pts is not None
            start = min(start, max(self._audio[0].pts, first.pts - _MAX_LEAD))
        return start

    def _place(self, packet: MediaPacket, start: int) -> bool:
        """Set the final decode time of a packet, and begin a fragment at `start` if the packet can.

        Return False if the packet is skipped.
        """
        assert packet.pts is not None
        assert packet.dts is not None
        fragment = self._fragment
        if packet.kind is Kind.AUDIO:
            packet.dts = packet.pts
            if self._video:
                assert self._video[0].dts is not None
                packet.dts = min(packet.pts, self._video[0].dts)
            alone = self._without and self._waited_for is Kind.VIDEO
            packet.key_frame = self._video is None or alone or self._pauses(Kind.VIDEO)
            if not (packet.key_frame or fragment.open):
                self.skip(packet, Reason.BEFORE_KEY)
                return False
        if self._last_dts is not None and packet.dts < self._last_dts:
            packet.dts = self._last_dts
        if packet.key_frame and fragment.may_end(packet.pts, self._fragment_duration):
            obstacle = self._obstacle(packet, begins_among=_ms(start) <= self._shown)
            if obstacle is None:
                fragment.start(start)
                packet.lead = packet.pts - start
            else:
                fragment.obstacle = obstacle
                packet.key_frame = False
        reason = fragment.add(packet)
        if reason is not None:
            self.skip(packet, reason)
            return False
        self._last_dts = packet.dts
        self._ends[packet.kind] = packet.pts
        if packet.kind is Kind.VIDEO:
            self._shown = max(self._shown, _ms(packet.pts))
        return True

    def _obstacle(self, key: MediaPacket, *, begins_among: bool) -> Reason | None:
        """Return the reason why `key` cannot begin a fragment, or None if it can.

        `begins_among`: the first picture of the new fragment would be shown before the last picture
        of the fragment before it.
        """
        fragment = self._fragment
        if not fragment.open:
            return None
        others = [kind for kind in self._queues if kind is not key.kind]
        if not (self._without or any(self._pauses(kind) for kind in others)) and (
            (fragment.missing and not fragment.full)
            or any(not self._queues[kind] for kind in others)
        ):
            return self._silent or Reason.SILENT_TRACK
        if begins_among and key.kind is Kind.VIDEO:
            return Reason.OVERLAPPING
        return None


def _ms(ticks: int | None) -> int:
    assert ticks is not None
    return ticks // TICKS_PER_MS


def _first_shown(queue: deque[MediaPacket]) -> int:
    """Return the time of the picture that is shown first in the fragment that begins with `queue`.

    It is the key frame, or the earliest of its leading pictures. These directly follow the key
    frame, or its second field.
    """
    first = own = queue[0].pts
    assert own is not None
    assert first is not None
    for later in islice(queue, 2 if _begins_with_fields(queue) else 1, None):
        assert later.pts is not None
        if later.pts > own:
            break
        first = min(first, later.pts)
    return first


def _begins_with_fields(queue: deque[MediaPacket]) -> bool:
    """Return whether the first two packets of `queue` may be the two fields of one picture.

    In H.265, fields are separate pictures. The second field is shown directly after the first, and
    may be stored before the leading pictures of both.
    """
    if len(queue) < 2:
        return False
    first, second = queue[0], queue[1]
    assert first.pts is not None
    assert second.pts is not None
    return 0 < second.pts - first.pts <= first.duration


class _Fragment:
    """The open fragment, checked against the service's limits."""

    def __init__(self, kinds: set[Kind]) -> None:
        self._kinds = kinds
        self.open = False
        self.full = False
        """Whether a frame did not fit. Then frames are skipped up to the next fragment."""
        self.missing: set[Kind] = set()
        self.obstacle = Reason.NO_KEY_FRAME
        self._reason = Reason.NO_KEY_FRAME
        self._start = 0
        self._bytes = 0

    def may_end(self, pts: int, duration: int) -> bool:
        """Return whether a key frame at `pts` is late enough to begin the next fragment."""
        return not self.open or self.full or pts - self._start >= duration

    def fits(self, pts: int) -> bool:
        """Return whether a frame at `pts` is early enough for this fragment."""
        return self.open and pts - self._start <= limits.SERVICE_MAX_FRAGMENT_DURATION

    def start(self, pts: int) -> None:
        """Begin a fragment at `pts`."""
        self.open, self.full, self._start, self._bytes = True, False, pts, 0
        self.missing, self.obstacle = set(self._kinds), Reason.NO_KEY_FRAME

    def add(self, packet: MediaPacket) -> Reason | None:
        """Add a frame and return None, or return why it does not fit into the fragment."""
        assert packet.pts is not None
        if self.full:
            return self._reason
        if packet.pts < self._start:
            return Reason.TOO_FAR_BEHIND
        self._bytes += len(packet.data)
        if self._bytes > limits.SERVICE_MAX_FRAGMENT_BYTES:
            large = self.obstacle is Reason.NO_KEY_FRAME
            self.full, self._reason = True, Reason.TOO_LARGE if large else self.obstacle
        elif packet.pts - self._start > limits.SERVICE_MAX_FRAGMENT_DURATION:
            self.full, self._reason = True, self.obstacle
        else:
            self.missing.discard(packet.kind)
            return None
        return self._reason
