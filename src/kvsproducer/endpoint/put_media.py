"""The protocol of one PutMedia request, as the service handles it. Sans-I/O.

A session handles one request: it parses Matroska bytes, and returns fragments to store and acks to
send. Source: Kinesis Video Streams, PutMedia. The caller must do the following:

- Report what happens: call `receive_data`, `receive_eof`, `connection_lost` and `handle_timer`.
  When the store has handled a fragment, call `fragment_stored` or `fragment_failed`.
- After each of these calls, call `next_fragment` (to store the fragment) and `next_ack` (to send
  its bytes as one HTTP chunk) until both return None. `next_timer` returns when to call
  `handle_timer`.
- End the response once `finished` is true.

`now` is a monotonic time in ticks. `wall(now)` returns the wall-clock time, which is used for the
timestamps of fragments. If `work` is given, one call parses at most that many elements. Then call
`continue_input` while `has_input` is true.

A fragment is one Cluster. It gets the ack BUFFERING when its timecode was read. It gets RECEIVED
when it is complete: at the next Cluster, an end-of-fragment tag, or the end of the body. It gets
PERSISTED when it is stored and the stream has retention. An ERROR ack is the last ack of a
response. It is sent after the acks of all earlier fragments, and no later fragment is stored or
acknowledged.

Tags between two Clusters belong to the second one's fragment. But if an end-of-fragment tag or the
end of the body follows these Tags, they belong to the fragment before.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kvsproducer import limits, wire
from kvsproducer.duration import TICKS_PER_DAY, ticks
from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.fragment import Fragment, FragmentNumbers
from kvsproducer.endpoint.open_fragment import (
    ErrorId,
    OpenFragment,
    Refusal,
    check_metadata,
)
from kvsproducer.mkv.events import (
    Block,
    ClusterEnd,
    ClusterStart,
    EbmlHeader,
    EndOfFile,
    Event,
    SegmentInfo,
    SegmentStart,
    Tags,
    Tracks,
)
from kvsproducer.mkv.parser import MkvParser
from kvsproducer.status import InvalidMedia, StatusCode

__all__ = ["WORK_PER_CALL", "PutMediaRequest", "PutMediaSession"]

_NO_TIMECODE: Final = -1  # in an ERROR ack that belongs to no fragment
_SCALE_NS_RANGE: Final = range(100, 1_000_000_001)
_MAX_INSTANT: Final = 2_932_896 * TICKS_PER_DAY  # the end of the year 9999
WORK_PER_CALL: Final = 256  # for `work`: elements that take a few milliseconds
_SIMPLE_BLOCK: Final = b"\xa3"
_BYTES_PER_ELEMENT: Final = 128  # longer elements, which may contain others, count as several
_UNKNOWN_SIZE_SEGMENT: Final = bytes.fromhex("1853806701ffffffffffffff")


@dataclass(frozen=True, slots=True)
class PutMediaRequest:
    """The values of the headers of a PutMedia request.

    `start` is the producer's start time in ticks. If `absolute` is false, the timecodes are
    relative to `start`. If `acks` is false, only ERROR acks are sent.
    """

    absolute: bool = True
    start: int = 0
    acks: bool = True


class PutMediaSession:
    """One PutMedia request. Its methods raise nothing: invalid media is answered by an ERROR ack.

    `refusal` is the reason for the ERROR ack, for the log. `begun` is the number of fragments
    begun so far. `work` is how many elements one call may parse; None: no limit.
    """

    def __init__(
        self,
        request: PutMediaRequest,
        numbers: FragmentNumbers,
        now: int,
        bounds: EndpointLimits | None = None,
        *,
        wall: Callable[[int], int] = int,
        work: int | None = None,
    ) -> None:
        self._wall = wall
        self._request = request
        self._work = sys.maxsize if work is None else work
        self._numbers = numbers
        self._limits = bounds or EndpointLimits()
        self._ack_interval = ticks(self._limits.idle_ack_interval)
        self._idle_timeout = ticks(self._limits.idle_timeout)
        self._max_connection = ticks(self._limits.connection_duration)
        self._parser = MkvParser(max_block_bytes=self._limits.fragment_bytes)
        self._started = now
        self._last_data = now
        self._last_idle_ack = now
        self._any_data = False
        self._has_input = False
        self._receiving = True
        # state of the Matroska parser
        self._header = bytearray()
        self._seen: set[type[Event]] = set()  # kinds of elements that may occur only once
        self._scale_ns = 1_000_000
        self._tracks: frozenset[int] = frozenset()
        self._in_cluster = False
        self._between: list[bytes] = []  # Tags and similar elements after a Cluster or the header
        self._between_size = 0
        self._between_metadata = 0
        self._open: OpenFragment | None = None
        self._previous_timecode = -1
        self._previous_latest: dict[int, int] = {}
        # output
        self._acks: deque[bytes] = deque()
        self._fragments: deque[Fragment] = deque()
        self._unstored: dict[str, int] = {}  # fragment number -> timecode in ms
        self._error: bytes | None = None
        self.refusal = ""
        self.begun = 0  # number of fragments

    # --- in --------------------------------------------------------------------------------
    def receive_data(self, data: bytes, now: int) -> None:
        """Parse bytes of the body, which may be split anywhere."""
        if not self._receiving or not data:
            return
        self._last_data = self._last_idle_ack = now
        self._any_data = True
        self._parser.receive_data(data)
        self._parse(now)

    def receive_eof(self, now: int) -> None:
        """Handle the regular end of the body."""
        if not self._receiving:
            return
        if self._any_data:
            self._parser.receive_eof()
            self._parse(now)
        else:
            self._receiving = False

    def continue_input(self, now: int) -> None:
        """Parse more of the bytes that were received earlier.

        Call it after `receive_data` or this method stopped because the limit `work` was reached.
        """
        if self._receiving:
            self._parse(now)

    def connection_lost(self) -> None:
        """Drop the unfinished fragment and all acks: the client has closed the connection."""
        self._end()
        self._acks.clear()
        self._unstored.clear()
        self._error = None

    def stop(self) -> None:
        """Accept no more bytes because the endpoint shuts down. Stored fragments still get acks."""
        self._end()

    def stream_deleted(self) -> None:
        """Send ERROR 4008: the stream was deleted."""
        self._fail(Refusal(ErrorId.STREAM_NOT_ACTIVE, "the stream was deleted"))

    def fragment_stored(self, number: str, *, persisted: bool) -> None:
        """Acknowledge a stored fragment.

        `persisted`: it is durable, and the stream has retention.
        """
        timecode = self._unstored.pop(number, None)
        if timecode is not None and persisted:
            self._acknowledge("PERSISTED", timecode, number)

    def fragment_failed(self, number: str) -> None:
        """Send ERROR 5001: the store could not write this fragment. Later fragments get no acks."""
        timecode = self._unstored.get(number)
        if timecode is None:
            return
        self._unstored.clear()
        self._error = None  # replace the error of a later fragment
        self._fail(
            Refusal(ErrorId.ARCHIVAL, "the store could not write the fragment"), timecode, number
        )

    def resume_input(self, now: int) -> None:
        """Restart the idle timeout.

        Call this after a pause in reading, for example because the store was slow.
        """
        self._last_data = self._last_idle_ack = now

    def next_timer(self) -> int | None:
        """Return when to call `handle_timer`, or None once no more input is expected."""
        if not self._receiving:
            return None
        return min(
            self._last_idle_ack + self._ack_interval,
            self._last_data + self._idle_timeout,
            self._started + self._max_connection,
        )

    def handle_timer(self, now: int) -> None:
        """Send an IDLE ack, end an idle request, or send ERROR 4003 after 45 minutes."""
        if not self._receiving:
            return
        if now >= self._started + self._max_connection:
            self._fail(Refusal(ErrorId.CONNECTION_DURATION, "the connection lasted too long"))
        elif now >= self._last_data + self._idle_timeout:
            self._end()
        elif now >= self._last_idle_ack + self._ack_interval:
            self._last_idle_ack = now
            if self._request.acks:
                self._acks.append(_ack_bytes({wire.ACK_EVENT_TYPE: wire.AckType.IDLE.name}))

    # --- out -------------------------------------------------------------------------------
    def next_ack(self) -> bytes | None:
        """Return the next ack (JSON and a newline) to send as one HTTP chunk, or None."""
        if self._acks:
            return self._acks.popleft()
        if self._error is not None and not self._unstored:
            error, self._error = self._error, None
            return error
        return None

    @property
    def has_ack(self) -> bool:
        """Whether `next_ack` returns an ack."""
        return bool(self._acks) or (self._error is not None and not self._unstored)

    def next_fragment(self) -> Fragment | None:
        """Return the next fragment to store, or None.

        The caller must then call `fragment_stored` or `fragment_failed` for it.
        """
        return self._fragments.popleft() if self._fragments else None

    @property
    def has_input(self) -> bool:
        """Whether `continue_input` has bytes to parse."""
        return self._has_input and self._receiving

    @property
    def unstored(self) -> int:
        """Number of fragments that are not stored yet."""
        return len(self._unstored)

    @property
    def unsent(self) -> int:
        """Number of acks that the caller has not taken."""
        return len(self._acks)

    @property
    def receiving(self) -> bool:
        """Whether the session still accepts bytes of the body."""
        return self._receiving

    @property
    def finished(self) -> bool:
        """Whether the response can end: no input is expected, nothing is left to store or send."""
        return not (
            self._receiving
            or self._acks
            or self._fragments
            or self._unstored
            or self._error is not None
        )

    # --- Matroska --------------------------------------------------------------------------
    def _parse(self, now: int) -> None:
        try:
            work = self._work
            while work > 0:
                event = self._parser.next_event() if self._receiving else None
                if event is None:
                    self._has_input = False
                    return
                work -= 1
                if not event.raw.startswith(_SIMPLE_BLOCK):
                    work -= len(event.raw) // _BYTES_PER_ELEMENT
                if type(event) is Block:
                    self._block(event)
                elif isinstance(event, ClusterStart):
                    self._cluster_start(event, now)
                elif isinstance(event, Tags):
                    self._tags(event)
                elif isinstance(event, EndOfFile):
                    self._end_of_file()
                else:
                    self._other(event)
            self._has_input = True
        except InvalidMedia as error:
            too_large = error.status is StatusCode.ACK_ERR_FRAGMENT_SIZE_REACHED
            error_id = ErrorId.FRAGMENT_SIZE if too_large else ErrorId.INVALID_MKV
            self._fail(Refusal(error_id, str(error)))
        except Refusal as refusal:
            self._fail(refusal)

    def _block(self, block: Block) -> None:
        assert self._open is not None, "the parser returns blocks within clusters only"
        self._open.add_block(block, self._tracks, self._previous_latest)

    def _cluster_start(self, event: ClusterStart, now: int) -> None:
        if Tracks not in self._seen:
            raise Refusal(ErrorId.INVALID_MKV, "a Cluster before Tracks")
        self._close_fragment(trailing=b"")
        leading, metadata_count = self._take_between()
        producer_timestamp = event.timecode * self._scale_ns // 100
        if not self._request.absolute:
            producer_timestamp += self._request.start
        self._in_cluster = True
        wall = self._wall(now)
        self._open = OpenFragment(
            self._numbers.next(wall),
            event.timecode,
            scale_ns=self._scale_ns,
            producer_timestamp=producer_timestamp,
            server_timestamp=wall,
            leading=leading,
            metadata_count=metadata_count,
            bounds=self._limits,
        )
        if event.timecode <= self._previous_timecode:
            raise Refusal(
                ErrorId.TIMECODE_NOT_GREATER,
                f"Cluster timecode {event.timecode} is not above {self._previous_timecode}",
            )
        latest = min(wall + ticks(self._limits.future), _MAX_INSTANT)
        if not 0 <= producer_timestamp <= latest:
            raise Refusal(
                ErrorId.PRODUCER_TIMESTAMP,
                f"the fragment's time is {producer_timestamp} ticks; 0 to {latest} are allowed",
            )
        self.begun += 1
        self._acknowledge("BUFFERING", self._open.timecode_ms, self._open.number)
        self._open.add_raw(event.raw)

    def _tags(self, event: Tags) -> None:
        self._in_cluster = False
        self._between_metadata = check_metadata(event.pairs, self._between_metadata)
        self._add_between(event.raw)
        if any(name == wire.TAG_END_OF_FRAGMENT for name, _ in event.pairs):
            trailing, count = self._take_between()
            self._close_fragment(trailing, count)

    def _end_of_file(self) -> None:
        trailing, count = self._take_between()
        self._close_fragment(trailing, count)
        self._receiving = False

    def _other(self, event: Event) -> None:
        """Handle the header's elements, ends of Clusters, and other elements without media."""
        if isinstance(event, ClusterEnd):
            self._in_cluster = False
        elif isinstance(event, EbmlHeader | SegmentStart | SegmentInfo | Tracks):
            if type(event) in self._seen or self._previous_timecode >= 0 or self._open:
                raise Refusal(ErrorId.INVALID_MKV, f"a second or late {type(event).__name__}")
            self._seen.add(type(event))
            self._header_element(event)
        elif self._in_cluster and self._open is not None:
            self._open.add_raw(event.raw)
        elif self._open is None and self._previous_timecode < 0 and not self._between:
            self._add_header(event.raw)
        else:
            self._add_between(event.raw)

    def _header_element(self, event: EbmlHeader | SegmentStart | SegmentInfo | Tracks) -> None:
        if isinstance(event, SegmentStart) and event.size is not None:
            # Each stored fragment begins with the header again, so the Segment's size would be
            # wrong.
            self._add_header(_UNKNOWN_SIZE_SEGMENT)
            return
        self._add_header(event.raw)
        if isinstance(event, SegmentInfo):
            if event.timecode_scale_ns not in _SCALE_NS_RANGE:
                raise Refusal(ErrorId.INVALID_MKV, f"timecode scale {event.timecode_scale_ns}")
            self._scale_ns = event.timecode_scale_ns
        elif isinstance(event, Tracks):
            self._tracks = frozenset(entry.number for entry in event.entries)
            if not self._tracks or len(self._tracks) < len(event.entries):
                raise Refusal(ErrorId.INVALID_MKV, "no track, or one number twice")
            if len(self._tracks) > limits.SERVICE_MAX_TRACKS:
                raise Refusal(ErrorId.TOO_MANY_TRACKS, f"{len(self._tracks)} tracks")

    def _add_header(self, raw: bytes) -> None:
        self._header += raw
        if len(self._header) > self._limits.fragment_bytes:
            raise Refusal(ErrorId.INVALID_MKV, "the header is larger than a fragment may be")

    def _add_between(self, raw: bytes) -> None:
        self._between.append(raw)
        self._between_size += len(raw)
        if self._between_size > self._limits.fragment_bytes:
            raise Refusal(ErrorId.FRAGMENT_SIZE, "the Tags are larger than a fragment may be")

    def _take_between(self) -> tuple[bytes, int]:
        taken = b"".join(self._between), self._between_metadata
        self._between.clear()
        self._between_size = self._between_metadata = 0
        return taken

    # --- fragments and acks ----------------------------------------------------------------
    def _close_fragment(self, trailing: bytes, metadata_count: int = 0) -> None:
        fragment = self._open
        self._in_cluster = False
        if fragment is None:
            return
        if fragment.metadata_count + metadata_count > limits.SERVICE_MAX_FRAGMENT_METADATA:
            raise Refusal(ErrorId.METADATA_LIMIT, "too many metadata items before and after")
        whole = fragment.finish(bytes(self._header), trailing, self._tracks)
        self._open = None
        self._previous_timecode = fragment.timecode
        self._previous_latest = {**self._previous_latest, **fragment.latest}
        self._fragments.append(whole)
        self._unstored[fragment.number] = fragment.timecode_ms
        self._acknowledge("RECEIVED", fragment.timecode_ms, fragment.number)

    def _acknowledge(self, event_type: str, timecode: int, number: str) -> None:
        if self._request.acks:
            self._acks.append(
                _ack_bytes(
                    {
                        wire.ACK_EVENT_TYPE: event_type,
                        wire.ACK_FRAGMENT_TIMECODE: timecode,
                        wire.ACK_FRAGMENT_NUMBER: number,
                    }
                )
            )

    def _fail(self, refusal: Refusal, timecode: int = _NO_TIMECODE, number: str = "") -> None:
        if self._error is not None:
            return
        if self._open is not None and not number:
            timecode, number = self._open.timecode_ms, self._open.number
        self._error = _ack_bytes(
            {
                wire.ACK_EVENT_TYPE: wire.AckType.ERROR.name,
                wire.ACK_FRAGMENT_TIMECODE: timecode,
                wire.ACK_FRAGMENT_NUMBER: number,
                wire.ACK_ERROR_CODE: wire.ack_error(refusal.error_id).name,
                wire.ACK_ERROR_ID: refusal.error_id,
            }
        )
        self.refusal = f"{refusal.error_id}: {refusal.reason}"
        self._end()

    def _end(self) -> None:
        self._receiving = False
        self._open = None


def _ack_bytes(members: dict[str, str | int]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode() + b"\n"
