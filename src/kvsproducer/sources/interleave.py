"""One sequence of frames out of the tracks, in the order that KVS takes: fragments and all.

The service's rules (KVS documentation, "Fragments"): a fragment begins with a key frame, holds
every track, lasts at most 20 s and 50 MB, and starts after the last timestamp of the one before.
The client's: decode times rise over all tracks, and nothing in a fragment is shown before its
first frame. So between video frames the sound goes

* before a key frame, if it is heard before the fragment that this begins, else after it (after the
  first one always: the core begins fragments with pictures, so that the first fragment starts with
  the sound that comes before it);
* otherwise before a frame once it is not later than what was already shown.

Video keeps its own times; sound gets decode times in between. Pictures that follow a key frame and
are shown before it (open groups, which x265 makes unless told otherwise) belong to its fragment,
which starts with the first of them (`lead`). A key frame is put as a plain frame (the fragment goes
on) where a new fragment would break a rule: it would begin among pictures of the one before, or a
track has nothing left, or had nothing in this fragment. What cannot be put under these rules is an
error before the frame is put, so that nothing is lost.

`fragment_duration` is the stream's: it starts a fragment at the first key frame after so long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND
from kvsproducer.sources.media import Kind, MediaPacket, MediaTrack
from kvsproducer.sources.timestamps import TrackTimes, seconds
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["Interleaver"]

_MAX_LEAD: Final = 10 * TICKS_PER_SECOND  # ours: read ahead so far for a track that is silent
# How to encode a file anew, by its codec (FFmpeg's name), with a key frame every 2 s of 25 fps.
_ENCODERS: Final = {
    "h264": "-c:v libx264 -force_key_frames 'expr:gte(t,n_forced*2)'",
    "hevc": "-c:v libx265 -x265-params keyint=50:open-gop=0",
}


def _ms(ticks: int | None) -> int:
    assert ticks is not None
    return ticks // TICKS_PER_MS


class Interleaver:
    """Orders the packets of `tracks` (at most one video and one audio track); see the module."""

    def __init__(self, tracks: list[MediaTrack], *, fragment_duration: int) -> None:
        self._times = {track.kind: TrackTimes(track) for track in tracks}
        self._queues: dict[Kind, deque[MediaPacket]] = {track.kind: deque() for track in tracks}
        self._reordered = {track.kind: track.reordered for track in tracks}
        self._fragment_duration = fragment_duration
        self._queued_bytes = 0
        self._at_end = False
        self._shown = -1  # latest presentation time of a picture so far, ms
        self._last_dts: int | None = None
        remedy = next((_ENCODERS[t.codec] for t in tracks if t.codec in _ENCODERS), "")
        self._fragment = _Fragment(set(self._queues), remedy)
        self.skipped = 0
        """Pictures before the first key frame, which nobody could decode."""

    @property
    def repairs(self) -> int:
        """Timestamps that were derived."""
        return sum(times.repairs for times in self._times.values())

    def order(self, packets: Iterable[MediaPacket]) -> Iterator[MediaPacket]:
        """The packets of all tracks in the order to put them, key flags as fragments need them.

        When reading `packets` or repairing fails, everything read before comes out first.
        """
        failure: KvsError | None = None
        try:
            try:
                for packet in packets:
                    self._queue(packet.kind, self._times[packet.kind].push(packet))
                    yield from self._ready()
            except KvsError as error:
                failure = error
            self._at_end = True
            for kind, times in self._times.items():
                self._queue(kind, times.flush())
            yield from self._ready()
            if failure is not None:
                raise failure
        finally:  # an error and the frame it came through would keep each other, and the codecs
            del failure

    def _queue(self, kind: Kind, packets: list[MediaPacket]) -> None:
        for packet in packets:
            if self._is_lost(packet):
                self.skipped += 1
                continue
            self._queues[kind].append(packet)
            self._queued_bytes += len(packet.data)

    def _is_lost(self, packet: MediaPacket) -> bool:
        """Whether this is a picture before the first key frame."""
        if packet.kind is not Kind.VIDEO or packet.key_frame:
            return False
        return self._fragment.waits_for_key and not self._queues[Kind.VIDEO]

    def _ready(self) -> Iterator[MediaPacket]:
        while any(self._queues.values()) and (self._at_end or self._decidable()):
            queue = self._queues[self._next_kind()]
            start = self._start_of(queue)
            packet = queue.popleft()
            self._queued_bytes -= len(packet.data)
            yield self._placed(packet, start)

    def _decidable(self) -> bool:
        """Whether the next packet is known without reading on."""
        lead = max(
            (_ms(queue[-1].pts) - _ms(queue[0].pts) for queue in self._queues.values() if queue),
            default=0,
        )
        if (
            lead * TICKS_PER_MS > _MAX_LEAD
            or self._queued_bytes > limits.SERVICE_MAX_FRAGMENT_BYTES
        ):
            return True
        if not all(self._queues.values()):
            return False
        video = self._queues.get(Kind.VIDEO)
        if not video or not video[0].key_frame or not self._reordered[Kind.VIDEO]:
            return True
        return any(_ms(later.pts) > _ms(video[0].pts) for later in video)

    def _next_kind(self) -> Kind:
        video, audio = self._queues.get(Kind.VIDEO), self._queues.get(Kind.AUDIO)
        if not video or not audio:
            return Kind.VIDEO if video else Kind.AUDIO
        picture = video[0]
        if not self._fragment.open:
            return Kind.VIDEO  # a fragment begins with a picture, also where sound is earlier
        if picture.key_frame:
            before = _ms(_first_shown(video))
        else:
            before = max(_ms(picture.dts), self._shown + 1)
        return Kind.AUDIO if _ms(audio[0].pts) < before else Kind.VIDEO

    def _start_of(self, queue: deque[MediaPacket]) -> int:
        """When the fragment starts that begins with the first packet of `queue`.

        The first one starts with the sound that comes before the first picture.
        """
        start = _first_shown(queue)
        audio = self._queues.get(Kind.AUDIO)
        if audio and not self._fragment.open:
            assert audio[0].pts is not None
            start = min(start, audio[0].pts)
        return start

    def _placed(self, packet: MediaPacket, start: int) -> MediaPacket:
        """Give a packet its decode time in the sequence and decide whether a fragment begins.

        A fragment that it begins starts at `start`.
        """
        assert packet.pts is not None
        assert packet.dts is not None
        video = self._queues.get(Kind.VIDEO)
        before = self._shown
        if packet.kind is Kind.AUDIO:
            packet.dts = packet.pts
            if video:
                assert video[0].dts is not None
                packet.dts = min(packet.pts, video[0].dts)
            packet.key_frame = video is None or not self._fragment.open
        else:
            self._shown = max(self._shown, _ms(packet.pts))
        if self._last_dts is not None:
            packet.dts = max(packet.dts, self._last_dts)
        self._last_dts = packet.dts
        fragment = self._fragment
        if packet.key_frame and fragment.may_end(packet.pts, self._fragment_duration):
            obstacle = self._obstacle(packet, begins_among=_ms(start) <= before)
            if obstacle is None:
                fragment.start(start)
                packet.lead = packet.pts - start
            else:
                fragment.obstacle = obstacle
                packet.key_frame = False
        fragment.add(packet)
        return packet

    def _obstacle(self, key: MediaPacket, *, begins_among: bool) -> str | None:
        """Why no fragment may begin with `key`, None when one may.

        `begins_among`: its first picture is shown before one of the fragment before.
        """
        if not self._fragment.open:
            return None
        silent = self._fragment.missing
        if not silent:
            silent = {k for k, queue in self._queues.items() if k is not key.kind and not queue}
        if silent:
            return f"the {next(iter(silent)).value} track has no frame near {seconds(key.pts or 0)}"
        if begins_among and key.kind is Kind.VIDEO:
            return "pictures after its key frames are shown among those before them"
        return None


def _first_shown(queue: deque[MediaPacket]) -> int:
    """When the first picture of a fragment is shown that begins with the first packet: its own
    time, or that of the earliest of its leading pictures, which come right after it."""
    first = own = queue[0].pts
    assert own is not None
    assert first is not None
    if queue[0].key_frame:
        for later in queue:
            assert later.pts is not None
            if later.pts > own:
                break
            first = min(first, later.pts)
    return first


class _Fragment:
    """The fragment being written, held against the service's limits."""

    def __init__(self, kinds: set[Kind], remedy: str) -> None:
        self._kinds = kinds
        self._remedy = remedy
        self.waits_for_key = Kind.VIDEO in kinds
        self.open = False
        self.missing: set[Kind] = set()
        self.obstacle = ""
        self._start = 0
        self._bytes = 0

    def may_end(self, pts: int, duration: int) -> bool:
        """Whether a key frame at `pts` begins the next fragment."""
        return not self.open or pts - self._start >= duration

    def start(self, pts: int) -> None:
        """Begin a fragment at `pts`."""
        self.open, self._start, self._bytes = True, pts, 0
        self.missing, self.obstacle = set(self._kinds), ""

    def add(self, packet: MediaPacket) -> None:
        """Count a frame in; raises what the service would answer if it had come so far."""
        assert packet.pts is not None
        if packet.kind is Kind.VIDEO:
            self.waits_for_key = False
        where = f"{packet.kind.value} frame {packet.number} at {seconds(packet.pts)}"
        if packet.pts < self._start:
            raise kvs_error(
                StatusCode.MKV_INVALID_FRAME_TIMESTAMP,
                f"{where} is earlier than its fragment, which begins at {seconds(self._start)}:"
                " the tracks are too far apart in the file. Write it anew:"
                " ffmpeg -i IN -c copy OUT",
            )
        self._bytes += len(packet.data)
        if self._bytes > limits.SERVICE_MAX_FRAGMENT_BYTES:
            raise kvs_error(
                StatusCode.ACK_ERR_FRAGMENT_SIZE_REACHED,
                f"{where} makes the fragment that began at {seconds(self._start)} larger than"
                " 50 MB; lower the bit rate or place key frames closer",
            )
        if packet.pts + packet.duration - self._start > limits.SERVICE_MAX_FRAGMENT_DURATION:
            raise self._too_long(where)
        self.missing.discard(packet.kind)

    def _too_long(self, where: str) -> KvsError:
        began = f"the fragment that began at {seconds(self._start)} longer than 20 s"
        if " track has no frame " in self.obstacle:
            return kvs_error(
                StatusCode.ACK_ERR_FRAMES_MISSING_FOR_TRACK,
                f"{where} makes {began}, since {self.obstacle} and KVS wants every track in"
                " every fragment. Put one track only (--tracks video)",
            )
        reason = self.obstacle or "no key frame came"
        return kvs_error(
            StatusCode.ACK_ERR_FRAGMENT_DURATION_REACHED,
            f"{where} makes {began}: {reason}. What came before is put; encode with a key frame"
            f" every 2 s: ffmpeg -i IN {self._remedy} OUT.mp4",
        )
