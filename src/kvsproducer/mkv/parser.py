"""An incremental Matroska parser: it takes bytes in chunks of any size, and returns events.

Use: call `receive_data(data)`, then `next_event()` until it returns None. At the end of the input
call `receive_eof()`, and `next_event()` until it returns `EndOfFile`.

It supports RFC 8794 and RFC 9559 as far as live streams use them: Segment and Cluster of known or
unknown size, SimpleBlock and BlockGroup with lacing, Tags before and after clusters, and several
documents one after the other (as in a GetMedia response). SeekHead, Cues, Void, CRC-32 and unknown
elements are returned as `Skipped`; checksums are not verified. The parser does not check the
service's rules for the order of elements (one Segment, one Tracks, declared tracks).

Invariants:

- The events do not depend on how the input was split.
- The `raw` of all events, joined, is the input.
- Only InvalidMedia is raised, with `offset`. After an error, each further call raises it again.
- No element larger than its limit is buffered, so the memory used is bounded.

The input may end between elements of a Segment, and inside a cluster of unknown size. A cluster of
known size must be complete, so that a fragment that is cut off is not accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from kvsproducer.limits import (
    MAX_CLUSTER_LEAD_BYTES,
    MAX_EBML_HEADER_BYTES,
    MAX_INFO_BYTES,
    MAX_TAGS_BYTES,
    MAX_TRACKS_BYTES,
    SERVICE_MAX_FRAGMENT_BYTES,
    SKIP_PIECE_BYTES,
)
from kvsproducer.mkv import elements as el
from kvsproducer.mkv.blocks import (
    read_block_group,
    read_simple_block,
    read_usual_block,
    simple_block_at,
)
from kvsproducer.mkv.byte_queue import ByteQueue
from kvsproducer.mkv.elements import ANYWHERE, ELEMENTS, ROOT, element_name
from kvsproducer.mkv.events import (
    ClusterEnd,
    ClusterStart,
    EndOfFile,
    Event,
    SegmentStart,
    Skipped,
)
from kvsproducer.mkv.masters import (
    MasterReader,
    read_ebml_header,
    read_info,
    read_tags,
    read_tracks,
)
from kvsproducer.mkv.reading import MAX_HEADER_BYTES, UNKNOWN, invalid_mkv, read_header, read_uint
from kvsproducer.status import InvalidMedia, StatusCode

__all__ = ["MkvParser"]

_MASTERS: Final[dict[int, tuple[MasterReader, int]]] = {
    # id: (reader, largest payload)
    el.INFO: (read_info, MAX_INFO_BYTES),
    el.TRACKS: (read_tracks, MAX_TRACKS_BYTES),
    el.TAGS: (read_tags, MAX_TAGS_BYTES),
}
_BLOCK_READERS: Final = {
    el.SIMPLE_BLOCK: read_simple_block,
    el.BLOCK_GROUP: read_block_group,
}


class _Header(NamedTuple):
    """The header of the next element: payload `size` in bytes or UNKNOWN, header `length`."""

    id: int
    size: int
    length: int
    end: int  # absolute offset after the element; not valid if the size is unknown


class MkvParser:
    """Parses one input; `max_block_bytes` limits the size of a block and so the memory used."""

    def __init__(self, *, max_block_bytes: int = SERVICE_MAX_FRAGMENT_BYTES) -> None:
        self._queue = ByteQueue()
        self._max_block_bytes = max_block_bytes
        self._eof = False
        self._wanted = 0  # bytes that must be available before the next element is complete
        self._error: InvalidMedia | None = None
        self._step: Callable[[], Event | None] = self._at_top
        self._documents = 0
        self._segment_end: int | None = None  # absolute offsets; None = unknown size
        self._cluster_end: int | None = None
        self._cluster_size: int | None = None
        self._lead: list[bytes] = []  # elements of the cluster up to its Timestamp
        self._lead_bytes = 0
        self._skipping = 0  # the id of the element that is skipped in pieces
        self._skip_left = 0
        self._after_skip = self._step

    @property
    def offset(self) -> int:
        """The number of bytes that all events so far have consumed."""
        return self._queue.offset

    @property
    def buffered(self) -> int:
        """The number of buffered bytes, which belong to an element that is not complete."""
        return self._queue.available + self._lead_bytes

    def receive_data(self, data: bytes) -> None:
        """Add the next bytes of the input."""
        assert not self._eof, "data after the end of the input"
        self._queue.feed(data)

    def receive_eof(self) -> None:
        """Mark the input as complete."""
        self._eof = True

    def next_event(self) -> Event | None:
        """Return the next event, or None if more data is needed or after `EndOfFile`.

        Raises InvalidMedia with ACK_ERR_INVALID_MKV_DATA, or with ACK_ERR_FRAGMENT_SIZE_REACHED for
        a block above the limit. Each further call raises the same error.
        """
        if self._error is not None:
            raise self._error
        if self._queue.available < self._wanted and not self._eof:
            return None
        self._wanted = 0
        try:
            return self._step()
        except InvalidMedia as error:
            self._error = error
            raise

    # --- one method per place in the stream ---------------------------------------------------

    def _at_top(self) -> Event | None:
        """Parse at top level: before a document, or after a Segment of known size."""
        if self._eof and not self._queue.available:
            self._step = self._at_end
            return EndOfFile()
        header = self._next_header(None)
        if header is None:
            return None
        if header.id == el.EBML:
            return self._read_master(header, read_ebml_header, MAX_EBML_HEADER_BYTES, self._in_ebml)
        if header.id in (el.VOID, el.CRC_32) and self._documents:
            return self._skip(header, self._at_top)
        raise self._misplaced(header, "outside a Segment")

    def _in_ebml(self) -> Event | None:
        """Parse after an EBML header, where a Segment must follow."""
        header = self._next_header(None)
        if header is None:
            return None
        if header.id in (el.VOID, el.CRC_32):
            return self._skip(header, self._in_ebml)
        if header.id != el.SEGMENT:
            raise self._misplaced(header, "between EBML header and Segment")
        self._documents += 1
        known = header.size != UNKNOWN
        self._segment_end = header.end if known else None
        self._step = self._in_segment
        return SegmentStart(self._queue.take(header.length), header.size if known else None)

    def _in_segment(self) -> Event | None:
        """Parse a child of the Segment."""
        if self._queue.offset == self._segment_end or self._at_eof():
            self._step = self._at_top
            return self._at_top()
        header = self._next_header(self._segment_end)
        if header is None:
            return None
        if header.id == el.CLUSTER:
            return self._open_cluster(header)
        master = _MASTERS.get(header.id)
        if master is not None:
            return self._read_master(header, *master, self._in_segment)
        if header.id == el.EBML and self._segment_end is None:
            self._step = self._at_top
            return self._at_top()
        self._check_parent(header, el.SEGMENT)
        return self._skip(header, self._in_segment)

    def _open_cluster(self, header: _Header) -> Event | None:
        known = header.size != UNKNOWN
        self._cluster_size = header.size if known else None
        self._cluster_end = header.end if known else self._segment_end
        self._lead = [self._queue.take(header.length)]
        self._lead_bytes = header.length
        self._step = self._in_cluster_lead
        return self._step()

    def _in_cluster_lead(self) -> Event | None:
        """Parse inside a cluster, up to its Timestamp."""
        while True:
            if self._queue.offset == self._cluster_end:
                raise invalid_mkv("a cluster without Timestamp", self._queue.offset)
            header = self._next_header(self._cluster_end)
            if header is None:
                return None
            if header.id in _BLOCK_READERS:
                raise invalid_mkv("a block before its cluster's Timestamp", self._queue.offset)
            self._check_parent(header, el.CLUSTER)
            self._check_size(header, MAX_CLUSTER_LEAD_BYTES - self._lead_bytes)
            raw = self._take_element(header)
            if raw is None:
                return None
            self._lead.append(raw)
            self._lead_bytes += len(raw)
            if header.id == el.TIMECODE:
                payload = memoryview(raw)[header.length :]
                timecode = read_uint(payload, self._queue.offset - header.size)
                start = ClusterStart(b"".join(self._lead), timecode, self._cluster_size)
                self._lead = []
                self._lead_bytes = 0
                self._step = self._in_cluster
                return start

    def _in_cluster(self) -> Event | None:
        """Parse a child of a cluster after its Timestamp; fast path for usual SimpleBlocks."""
        queue = self._queue
        end = self._cluster_end
        length, start = simple_block_at(*queue.head)
        if (
            length
            and length - start <= self._max_block_bytes
            and (end is None or queue.offset + length <= end)
        ):
            return read_usual_block(queue.take(length), start)
        return self._in_cluster_generally()

    def _in_cluster_generally(self) -> Event | None:
        """Parse a child of a cluster for which `_in_cluster` has no fast path."""
        if self._queue.offset == self._cluster_end:
            return self._close_cluster()
        if self._cluster_size is None and self._at_eof():
            return self._close_cluster()
        header = self._next_header(self._cluster_end)
        if header is None:
            return None
        reader = _BLOCK_READERS.get(header.id)
        if reader is not None:
            if header.size > self._max_block_bytes:
                raise self._too_large(header, self._max_block_bytes)
            start = self._queue.offset
            raw = self._take_element(header)
            return None if raw is None else reader(raw, header.length, start)
        if self._cluster_size is None and self._ends_cluster(header):
            return self._close_cluster()
        self._check_parent(header, el.CLUSTER)
        return self._skip(header, self._in_cluster)

    def _close_cluster(self) -> Event:
        self._step = self._in_segment
        return ClusterEnd()

    def _ends_cluster(self, header: _Header) -> bool:
        """Return True if this element cannot be in a cluster, and so ends one of unknown size."""
        known = ELEMENTS.get(header.id)
        return known is not None and known.parent in (ROOT, el.SEGMENT)

    def _in_skipped(self) -> Event | None:
        """Return the next piece of a long element that is not parsed."""
        piece = min(self._skip_left, SKIP_PIECE_BYTES)
        if self._queue.available < piece:
            self._refuse_eof(self._skipping)
            self._wanted = piece
            return None
        self._skip_left -= piece
        if not self._skip_left:
            self._step = self._after_skip
        return Skipped(self._queue.take(piece), self._skipping, last=not self._skip_left)

    def _at_end(self) -> Event | None:
        return None

    # --- elements -----------------------------------------------------------------------------

    def _next_header(self, parent_end: int | None) -> _Header | None:
        """Return the next element's header without consuming it, or None if data is missing."""
        queue = self._queue
        found = read_header(queue.peek(MAX_HEADER_BYTES), queue.offset)
        if found is None:
            self._refuse_eof(None)
            return None
        element_id, size, length = found
        end = queue.offset + length + size
        if parent_end is not None and (
            queue.offset + length > parent_end or (size != UNKNOWN and end > parent_end)
        ):
            raise invalid_mkv(
                f"{element_name(element_id)} reaches past the end of its parent", queue.offset
            )
        if size == UNKNOWN and element_id not in (el.SEGMENT, el.CLUSTER):
            raise invalid_mkv(f"{element_name(element_id)} of unknown size", queue.offset)
        return _Header(element_id, size, length, end)

    def _take_element(self, header: _Header) -> bytes | None:
        """Return the whole element, or None if more data is needed."""
        total = header.length + header.size
        if self._queue.available < total:
            self._refuse_eof(header.id)
            self._wanted = total
            return None
        return self._queue.take(total)

    def _read_master(
        self, header: _Header, reader: MasterReader, limit: int, then: Callable[[], Event | None]
    ) -> Event | None:
        """Parse a master element once it is complete; `then` is the parsing step that follows."""
        self._check_size(header, limit)
        start = self._queue.offset
        raw = self._take_element(header)
        if raw is None:
            return None
        self._step = then
        return reader(raw, header.length, start)

    def _skip(self, header: _Header, then: Callable[[], Event | None]) -> Event | None:
        """Skip an element: a short one in one event, a long one in pieces."""
        if header.length + header.size <= SKIP_PIECE_BYTES:
            raw = self._take_element(header)
            if raw is None:
                return None
            self._step = then
            return Skipped(raw, header.id)
        self._skipping = header.id
        self._skip_left = header.size
        self._after_skip = then
        self._step = self._in_skipped
        return Skipped(self._queue.take(header.length), header.id, last=False)

    # --- errors -------------------------------------------------------------------------------

    def _at_eof(self) -> bool:
        return self._eof and not self._queue.available

    def _refuse_eof(self, element_id: int | None) -> None:
        """Raise if the input has ended inside an element."""
        if self._eof:
            what = "an element's header" if element_id is None else element_name(element_id)
            raise invalid_mkv(f"the data ends inside {what}", self._queue.offset)

    def _check_size(self, header: _Header, limit: int) -> None:
        if header.size > limit:
            raise invalid_mkv(
                f"{element_name(header.id)} of {header.size} bytes, allowed are {limit}",
                self._queue.offset,
            )

    def _too_large(self, header: _Header, limit: int) -> InvalidMedia:
        return InvalidMedia(
            StatusCode.ACK_ERR_FRAGMENT_SIZE_REACHED,
            f"{element_name(header.id)} of {header.size} bytes, allowed are {limit}",
            offset=self._queue.offset,
        )

    def _check_parent(self, header: _Header, parent: int) -> None:
        """Raise if a known element is in another parent than the table says."""
        known = ELEMENTS.get(header.id)
        if known is not None and known.parent not in (parent, ANYWHERE):
            raise self._misplaced(header, f"in {element_name(parent)}")

    def _misplaced(self, header: _Header, where: str) -> InvalidMedia:
        return invalid_mkv(f"{element_name(header.id)} {where}", self._queue.offset)
