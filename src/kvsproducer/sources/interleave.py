"""One sequence of frames out of the tracks, in the order that KVS takes: fragments and all.

The service's rules (KVS documentation, "Fragments"): a fragment begins with a key frame, holds
every track, lasts at most 20 s from its first to its last frame, has at most 50 MB, and starts
after the last timestamp of the one before. The client's: decode times rise over all tracks, and
nothing in a fragment is shown before its first frame. So between video frames the sound goes

* before a key frame, if it is heard before the fragment that this begins, else after it (after the
  first one always: the core begins fragments with pictures, so that the first fragment starts with
  the sound that comes before it);
* otherwise before a frame once it is not later than what was already shown.

Video keeps its own times; sound gets decode times in between. Pictures that follow a key frame and
are shown before it (open groups, which x265 makes unless it is configured otherwise) belong to its
fragment, which starts with the first of them (`lead`). A key frame is put as a plain frame (the
fragment goes on) where a new fragment would break a rule: it would begin among pictures of the one
before, or a track has nothing left, or had nothing in this fragment.

To know the order, a packet waits until the other track has one too. How far the tracks lie apart is
bounded in bytes, and for a live source in time too; at the bound the track that has packets goes on
alone. The stream takes it on: after `grace` of media without frames of a track it begins a session
without the track, and one with it when the track is back (`kvsproducer.client.present`). Fragments
then begin without that track. Frames that fit into no fragment are left out, with those that need
them, up to the next fragment: `skipped.py` counts them.

`fragment_duration` is the stream's: it starts a fragment at the first key frame after so long.
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
"""Ours: so much of one track is read ahead to find the other one."""
_MAX_LEAD: Final = 10 * TICKS_PER_SECOND  # ours: so much sound before the first picture is put
_PAUSE: Final = limits.FAR_TIMESTAMP // 2  # ours: both tracks step so far after a pause
_PICTURES_OF_A_PAUSE: Final = 3  # as many as the core waits for
_MARGIN: Final = TICKS_PER_SECOND  # ours: so much longer than `grace` a track waits for the other
_MAX_WARNINGS: Final = 10  # ours: tracks that stop are named so often


class Interleaver:
    """Orders the packets of `tracks` (at most one video and one audio track); see the module.

    `timeline` is how their times are moved; `live` that a track waits for the other only a second
    longer than `grace`, in ticks of media, which is that of the stream. `warnings` gets a line for
    a track that stops.
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
        self._silent: Reason | None = None  # why the other track is no longer waited for
        self._waited_for: Kind | None = None  # that track, then
        self._without = False  # whether the stream goes on without it
        self._fragment_duration = fragment_duration
        self._queued_bytes = 0
        self._at_end = False
        self._waits_for_key: Reason | None = Reason.BEFORE_KEY if self._video is not None else None
        self._first: int | None = None  # pts of the first packet, where positions count from
        self._shown = -1  # latest presentation time of a picture so far, ms
        self._last_dts: int | None = None
        self._to_come_first = 0  # pictures that go before sound, after a pause
        self._sound_between = False  # whether sound has come since the last picture
        self._resuming = False  # whether the next picture is the first one after a pause
        self._ends: dict[Kind, int] = {}  # pts of the newest packet of each track
        self._fragment = _Fragment(set(self._queues))

    @property
    def repairs(self) -> int:
        """Timestamps that were derived."""
        return sum(times.repairs for times in self._times.values())

    def order(self, packets: Iterable[MediaPacket]) -> Iterator[MediaPacket]:
        """The packets of all tracks in the order to put them, key flags as fragments need them.

        When reading `packets` fails, everything read before comes out first.
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
        finally:  # an error and the frame it came through would keep each other, and the codecs
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
        """Count `packet` as not put."""
        assert packet.pts is not None
        self.left_out.add(packet, packet.pts - (self._first or 0), reason)

    def _take(self) -> MediaPacket | None:
        """The next packet to put, None when that takes more reading."""
        while queue := self._next_queue():
            start = self._start_of(queue)
            packet = queue.popleft()
            if self._to_come_first:
                self._sound_between = queue is self._audio
                self._to_come_first -= queue is self._video
                self._resuming = False
            self._queued_bytes -= len(packet.data)
            if self._placed(packet, start):
                return packet
        return None

    def _next_queue(self) -> deque[MediaPacket] | None:
        """The track whose packet comes next, None when that takes more reading, or at the end."""
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
                # A fragment begins with a picture, also where sound is a little earlier.
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
        """Whether the next picture goes before sound of the same time, as after a pause of both.

        The core takes pictures that are far ahead for a pause when three of them have come. Until
        then it holds two packets of sound that is as far ahead, and takes more for damaged.
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
        """Whether all pictures that are shown before the key frame at the front are known."""
        if not self._times[Kind.VIDEO].reordered or self._at_end:
            return True
        key = _ms(video[0].pts)
        behind = islice(video, 2 if _begins_with_fields(video) else 1, None)
        return any(_ms(later.pts) > key for later in behind) or self._is_overdue(video)

    def _is_overdue(self, queue: deque[MediaPacket]) -> bool:
        """Whether `queue` has waited long enough for more packets, or for the other track."""
        if self._silent is None:
            if self._queued_bytes > MAX_QUEUED_BYTES:
                self._stop(queue, Reason.FAR_APART)
            elif self._at_end or (self._live and self._outlasts_grace(queue)):
                self._stop(queue, Reason.SILENT_TRACK)
        return self._silent is not None

    def _outlasts_grace(self, queue: deque[MediaPacket]) -> bool:
        """Whether the stream will go on without the other track while it gets `queue`."""
        assert queue[-1].pts is not None
        assert queue[0].pts is not None
        since = max(queue[0].pts, self._last_dts or 0)  # a packet may be of long ago
        return queue[-1].pts - since > self.grace + _MARGIN

    def _pauses(self, kind: Kind) -> bool:
        """Whether the next packet of a track comes so late that the stream goes on without it."""
        queue = self._queues[kind]
        if not queue:
            return False
        assert queue[0].pts is not None
        assert self._first is not None
        return queue[0].pts - self._ends.get(kind, self._first) > self.grace + _MARGIN

    def _stop(self, queue: deque[MediaPacket], reason: Reason) -> None:
        """Wait no more for the other track, since only `queue` has packets."""
        self._silent = reason
        self._waited_for = Kind.AUDIO if queue is self._video else Kind.VIDEO
        self._without = not self._alone and (
            self._outlasts_grace(queue) or (self._at_end and self._needs_fragments(queue))
        )
        if self._without and self._stops < _MAX_WARNINGS:
            self._stops += 1
            at = ((queue[0].pts or 0) - (self._first or 0)) / TICKS_PER_SECOND
            gone, rest = "sound", "pictures go"
            if self._waited_for is Kind.VIDEO:
                gone, rest = "video", "sound goes"
            verb = "ends" if self._at_end else "stops"
            self._warnings.append(f"the {gone} {verb} at {at:.1f} s; the {rest} on without it")

    def _needs_fragments(self, queue: deque[MediaPacket]) -> bool:
        """Whether the last pictures do not fit into the open fragment, and begin more of them.

        The stream then leaves out the other track where it ends (`PresentTracks.end`).
        """
        fits = self._fragment.fits(queue[-1].pts or 0)
        return queue is self._video and not fits and any(packet.key_frame for packet in queue)

    def _start_of(self, queue: deque[MediaPacket]) -> int:
        """When the fragment starts that begins with the first packet of `queue`.

        The first one, and one after a pause, starts with the sound that comes before the first
        picture, up to 10 s.
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

    def _placed(self, packet: MediaPacket, start: int) -> bool:
        """Give a packet its decode time in the sequence and decide whether a fragment begins.

        A fragment that it begins starts at `start`. Returns False if the packet cannot be put.
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
        """Why no fragment may begin with `key`, None when one may.

        `begins_among`: its first picture is shown before one of the fragment before.
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
    """When the first picture of a fragment is shown that begins with the first packet.

    It is shown at its own time, or at that of the earliest of its leading pictures, which come
    right after it, or after its second field.
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
    """Whether the second packet may be the second field of the first one's picture.

    The fields of H.265 are pictures of their own. The second one is shown right after the first,
    and may come before the leading pictures of both.
    """
    if len(queue) < 2:
        return False
    first, second = queue[0], queue[1]
    assert first.pts is not None
    assert second.pts is not None
    return 0 < second.pts - first.pts <= first.duration


class _Fragment:
    """The fragment being written, held against the service's limits."""

    def __init__(self, kinds: set[Kind]) -> None:
        self._kinds = kinds
        self.open = False
        self.full = False
        """Whether a frame did not fit: what follows is left out, up to the next fragment."""
        self.missing: set[Kind] = set()
        self.obstacle = Reason.NO_KEY_FRAME
        self._reason = Reason.NO_KEY_FRAME
        self._start = 0
        self._bytes = 0

    def may_end(self, pts: int, duration: int) -> bool:
        """Whether a key frame at `pts` begins the next fragment."""
        return not self.open or self.full or pts - self._start >= duration

    def fits(self, pts: int) -> bool:
        """Whether a frame at `pts` is early enough for this fragment."""
        return self.open and pts - self._start <= limits.SERVICE_MAX_FRAGMENT_DURATION

    def start(self, pts: int) -> None:
        """Begin a fragment at `pts`."""
        self.open, self.full, self._start, self._bytes = True, False, pts, 0
        self.missing, self.obstacle = set(self._kinds), Reason.NO_KEY_FRAME

    def add(self, packet: MediaPacket) -> Reason | None:
        """Count a frame in, or return why the service would refuse the fragment with it."""
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
