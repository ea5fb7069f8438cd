"""Check which rules of KVS an MKV file breaks, fragment by fragment.

The bytes go through the PutMedia session of the local endpoint, the same code that handles uploads.
If the session refuses a fragment, the refusal is recorded for that fragment. A new session then
begins with the next fragment and the newest header, as a producer would begin a new upload. So all
fragments are checked. Media that the service accepts, but players or the producer SDK do not, lead
to warnings.

A response of GetMedia has one document for each fragment, with the service's tags around the
cluster. Each document is checked as an upload of its own, without those tags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Final

from kvsproducer import limits, wire
from kvsproducer.cli.track_rules import Problem, warning
from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.fragment import FragmentNumbers
from kvsproducer.endpoint.put_media import PutMediaRequest, PutMediaSession
from kvsproducer.mkv import tags
from kvsproducer.mkv.events import (
    Block,
    ClusterStart,
    EbmlHeader,
    Event,
    SegmentInfo,
    SegmentStart,
    Tags,
    Tracks,
)
from kvsproducer.status import InvalidFrame, InvalidMedia, StatusCode

__all__ = ["Rules"]


_S = StatusCode
_NS_PER_MS: Final = 1_000_000
# Tags that GetMedia puts around a fragment. PutMedia refuses them as it does all reserved names.
_GET_MEDIA_TAGS: Final = frozenset(
    (
        wire.TAG_FRAGMENT_NUMBER,
        wire.TAG_SERVER_TIMESTAMP,
        wire.TAG_PRODUCER_TIMESTAMP,
        wire.TAG_MILLIS_BEHIND_NOW,
        wire.TAG_CONTINUATION_TOKEN,
        wire.TAG_ERROR_ID,
        wire.TAG_ERROR_CODE,
    )
)
_HEADER: Final = (EbmlHeader, SegmentStart, SegmentInfo, Tracks)
# Do not check whether times are in the future: a file may be inspected at any time.
_BOUNDS: Final = EndpointLimits(future=timedelta(days=10_000_000))
_MOST_BLOCKS: Final = 1000
_UNKNOWN_SIZE_SEGMENT: Final = bytes.fromhex("18538067ff")


class Rules:
    """Check an MKV file: the caller passes the parser's events, in order, to `take`.

    `take` returns the problems that it found.
    """

    def __init__(self) -> None:
        self._numbers = FragmentNumbers()
        self._session = self._new_session()
        self._header: dict[type, bytes] = {}
        self._scale_ns = _NS_PER_MS
        self._blocks: list[bytes] = []  # of the open fragment, not yet checked
        self._waiting = False  # after a refusal: until the next fragment or document
        self._between: list[bytes] = []  # the Tags elements before that fragment
        self.is_answer = False  # whether the file contains tags of GetMedia

    def _new_session(self) -> PutMediaSession:
        # ABSOLUTE times with a start of 0 are also right for a file with relative times.
        return PutMediaSession(PutMediaRequest(), self._numbers, 0, _BOUNDS)

    def take(self, event: Event) -> list[Problem]:
        """Check one event and return the problems that it reveals."""
        raw, problems = event.raw, list(_warnings(event))
        if isinstance(event, Block) and not self._waiting and len(self._blocks) < _MOST_BLOCKS:
            self._blocks.append(raw)
            return problems
        problems = self._judge_blocks() + problems
        if isinstance(event, Tags):
            raw = self._own_tags(event)
        elif isinstance(event, EbmlHeader):
            if self.is_answer:
                problems += self._begin_document()
            self._header.clear()
        if isinstance(event, _HEADER):
            known = isinstance(event, SegmentStart) and event.size is not None
            self._header[type(event)] = _UNKNOWN_SIZE_SEGMENT if known else raw
        if isinstance(event, SegmentInfo):
            self._scale_ns = event.timecode_scale_ns
        if not self._waiting:
            self._session.receive_data(raw, 0)
            problems += self._refusals()
        elif isinstance(event, Tags):
            self._between.append(raw)
        if self._waiting and isinstance(event, ClusterStart):
            problems += self._go_on(event, problems)
        return problems

    def _judge_blocks(self) -> list[Problem]:
        """Check the collected blocks together, because one by one would take twice the time."""
        if not self._blocks:
            return []
        raw = b"".join(self._blocks)
        self._blocks.clear()
        self._session.receive_data(raw, 0)
        return self._refusals()

    def _own_tags(self, event: Tags) -> bytes:
        """Return the Tags element as the producer wrote it, without the tags of GetMedia."""
        own = [pair for pair in event.pairs if pair[0] not in _GET_MEDIA_TAGS]
        if len(own) == len(event.pairs):
            return event.raw
        self.is_answer = True
        with suppress(InvalidFrame):  # a name or value of a wrong length is only a warning
            return tags(own) if own else b""
        return b""

    def _begin_document(self) -> list[Problem]:
        """End the upload of the previous document, and return the problems of its last fragment."""
        problems = self.end()
        self._session = self._new_session()
        self._waiting = False
        return problems

    def _go_on(self, event: ClusterStart, problems: list[Problem]) -> list[Problem]:
        """Begin a new upload with this fragment, after the service refused an earlier one.

        If this fragment is the refused one, wait for the next fragment. Return new problems.
        """
        own = event.timecode * self._scale_ns // _NS_PER_MS
        if any(problem.timecode_ms == own for problem in problems):
            return []
        self._session = self._new_session()
        self._waiting = False
        head = [*self._header.values(), *self._between, event.raw]
        self._session.receive_data(b"".join(head), 0)
        self._between.clear()
        return self._refusals()

    def end(self) -> list[Problem]:
        """End the upload, and return the problems of its last fragment."""
        problems = self._judge_blocks()
        self._session.receive_eof(0)
        return problems + self._refusals()

    def broken(self, error: InvalidMedia) -> Problem:
        """Return a problem, with the service's error id, for bytes that cannot be parsed."""
        too_large = error.status is _S.ACK_ERR_FRAGMENT_SIZE_REACHED
        detail = f"{error.detail} ({error.context})" if error.context else error.detail
        return _refused(4001 if too_large else 4006, detail)

    def _refusals(self) -> list[Problem]:
        """Discard the session's complete fragments, and return its ERROR acks as problems."""
        session = self._session
        found: list[Problem] = []
        while (fragment := session.next_fragment()) is not None:
            session.fragment_stored(fragment.info.number, persisted=True)
        while (ack := session.next_ack()) is not None:
            members = json.loads(ack)
            kind = members[wire.ACK_EVENT_TYPE]
            if kind == wire.AckType.ERROR.name:
                reason = session.refusal.partition(": ")[2] or session.refusal
                timecode = members[wire.ACK_FRAGMENT_TIMECODE]
                found.append(_refused(members[wire.ACK_ERROR_ID], reason, timecode))
                self._waiting = True
        return found


def _refused(error_id: int, reason: str, timecode_ms: int | None = None) -> Problem:
    ack = wire.ack_error(error_id)
    return Problem(ack.status, f"ERROR ack {error_id} {ack.name}: {reason}", timecode_ms)


def _warnings(event: Event) -> Iterator[Problem]:
    """Yield warnings about frames and tags that the producer SDK would refuse."""
    if isinstance(event, Block):
        if event.relative_timecode < 0:
            text = f"a frame {-event.relative_timecode} timecode units before its fragment's start"
            yield warning(_S.MKV_INVALID_FRAME_TIMESTAMP, text)
        if not all(map(len, event.frames)):
            yield warning(_S.MKV_INVALID_FRAME_DATA, "a frame without data")
    elif isinstance(event, Tags):
        for name, value in event.pairs:
            sizes = len(name.encode()), len(value.encode())
            if not limits.MIN_MKV_TAG_NAME_LEN <= sizes[0] <= limits.MAX_MKV_TAG_NAME_LEN:
                yield warning(_S.MKV_INVALID_TAG_NAME_LENGTH, f"a tag name of {sizes[0]} bytes")
            if sizes[1] > limits.MAX_MKV_TAG_VALUE_LEN:
                yield warning(_S.MKV_INVALID_TAG_VALUE_LENGTH, f"tag {name!r} has {sizes[1]} bytes")
