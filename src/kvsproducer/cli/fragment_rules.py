"""Which rules of KVS a piece of Matroska breaks: each fragment is judged, also after a refusal.

The bytes go through the endpoint's PutMedia session, the same code that answers uploads. What it
refuses is noted for the fragment at hand; then a new session begins, as a producer would begin a
new upload, with the newest header, at the next fragment. Beside the service's rules stand those of
the producer SDK, which raises a status before anything is sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from kvsproducer import limits, wire
from kvsproducer.codecs import h264, h265, is_annexb, parse_aac_config
from kvsproducer.endpoint.fragment import FragmentNumbers
from kvsproducer.endpoint.put_media import PutMediaRequest, PutMediaSession
from kvsproducer.mkv.events import (
    Block,
    ClusterStart,
    EbmlHeader,
    Event,
    SegmentInfo,
    SegmentStart,
    Tags,
    TrackEntry,
    Tracks,
)
from kvsproducer.status import KvsError, MkvError, StatusCode

__all__ = ["Problem", "Rules", "track_problems"]


class Problem(NamedTuple):
    """A rule that is broken; `timecode_ms` names another fragment than the one at hand."""

    status: StatusCode
    text: str
    timecode_ms: int | None = None


_S = StatusCode
_NS_PER_MS: Final = 1_000_000
_HEADER: Final = (EbmlHeader, SegmentStart, SegmentInfo, Tracks)
_UNKNOWN_SIZE_SEGMENT: Final = bytes.fromhex("18538067ff")
_READERS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "V_MPEG4/ISO/AVC": h264.parse_cpd,
    "V_MPEGH/ISO/HEVC": h265.parse_cpd,
    "A_AAC": parse_aac_config,
}


class Rules:
    """Takes the parser's events in order; `take` returns what each one brought to light."""

    def __init__(self) -> None:
        self._numbers = FragmentNumbers()
        self._session = self._new_session()
        self._header: dict[type, bytes] = {}
        self._scale_ns = _NS_PER_MS
        self._waiting = False  # refused: for the next fragment or document
        self._between: list[bytes] = []  # what came before that fragment

    def _new_session(self) -> PutMediaSession:
        # ABSOLUTE with a start of 0 judges a file whose times are relative just as well.
        return PutMediaSession(PutMediaRequest(), self._numbers, 0)

    def take(self, event: Event) -> list[Problem]:
        """What this event brings to light."""
        raw = event.raw
        if isinstance(event, _HEADER):
            if isinstance(event, EbmlHeader):
                self._header.clear()
            known = isinstance(event, SegmentStart) and event.size is not None
            self._header[type(event)] = _UNKNOWN_SIZE_SEGMENT if known else raw
        if isinstance(event, SegmentInfo):
            self._scale_ns = event.timecode_scale_ns
        problems = list(_sdk_problems(event))
        if not self._waiting:
            self._session.receive_data(raw, 0)
            problems += self._refusals()
        elif isinstance(event, Tags):
            self._between.append(raw)
        if not isinstance(event, ClusterStart) or not self._waiting:
            return problems
        own = event.timecode * self._scale_ns // _NS_PER_MS
        if any(problem.timecode_ms == own for problem in problems):
            return problems  # refused itself, not what was before it
        self._session = self._new_session()
        self._waiting = False
        self._session.receive_data(b"".join([*self._header.values(), *self._between, raw]), 0)
        self._between.clear()
        return problems + self._refusals()

    def end(self) -> list[Problem]:
        """The input is over; what its last fragment shows as a whole."""
        self._session.receive_eof(0)
        return self._refusals()

    def broken(self, error: MkvError) -> Problem:
        """The parser's own refusal, as the service words it."""
        too_large = error.status is _S.ACK_ERR_FRAGMENT_SIZE_REACHED
        detail = f"{error.detail} ({error.context})" if error.context else error.detail
        return _refused(4001 if too_large else 4006, detail)

    def _refusals(self) -> list[Problem]:
        """Store what the session hands over, nowhere; the ERROR ack if there is one."""
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


def _sdk_problems(event: Event) -> Iterator[Problem]:
    """What the producer SDK would raise about the frames and tags of a fragment."""
    if isinstance(event, Block):
        if event.relative_timecode < 0:
            text = f"a frame {-event.relative_timecode} timecode units before its fragment's start"
            yield Problem(_S.MKV_INVALID_FRAME_TIMESTAMP, text)
        if not all(map(len, event.frames)):
            yield Problem(_S.MKV_INVALID_FRAME_DATA, "a frame without data")
    elif isinstance(event, Tags):
        for name, value in event.pairs:
            sizes = len(name.encode()), len(value.encode())
            if not limits.MIN_MKV_TAG_NAME_LEN <= sizes[0] <= limits.MAX_MKV_TAG_NAME_LEN:
                yield Problem(_S.MKV_INVALID_TAG_NAME_LENGTH, f"a tag name of {sizes[0]} bytes")
            if sizes[1] > limits.MAX_MKV_TAG_VALUE_LEN:
                yield Problem(_S.MKV_INVALID_TAG_VALUE_LENGTH, f"tag {name!r} has {sizes[1]} bytes")


def track_problems(tracks: list[TrackEntry]) -> Iterator[Problem]:
    """What is wrong with the description of the tracks."""
    if not tracks:
        yield Problem(_S.TRACK_INFO_MISSING, "no Tracks element")
    for track in tracks:
        where, private = f"track {track.number}", track.codec_private
        if len(private) > limits.MAX_CODEC_PRIVATE_BYTES:
            text = f"{where}: {len(private)} bytes of codec private data"
            yield Problem(_S.MKV_INVALID_CODEC_PRIVATE_LENGTH, text)
        if len(track.codec_id) > limits.MAX_CODEC_ID_LEN:
            yield Problem(_S.MKV_INVALID_CODEC_ID_LENGTH, f"{where}: codec id {track.codec_id!r}")
        if is_annexb(private):
            text = f"{where}: codec private data is Annex-B; players want avcC / hvcC"
            yield Problem(_S.MKV_INVALID_H264_H265_CPD, text)
        elif private and track.codec_id in _READERS:
            try:
                _READERS[track.codec_id](private)
            except KvsError as error:
                yield Problem(error.status, f"{where}: {error.detail}")
