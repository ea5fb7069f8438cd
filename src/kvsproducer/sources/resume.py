"""Resume the put of a file that is partly stored: find out which frames remain.

The put is resumed with the same file and the same start time, so each fragment of the file has a
known producer timestamp, to the millisecond. KVS stores complete fragments, and an offline stream
sends them in order. So everything before the last stored fragment is stored. The interruption may
have ended that fragment early. If it has fewer frames than in the file, it is put again.

This module uses the stream's rule (`mkv.generator`) for the beginnings of fragments: a fragment
begins at the first key frame after the fragment duration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from kvsproducer.client.frame import Frame
from kvsproducer.duration import TICKS_PER_DAY, TICKS_PER_MS, format_instant
from kvsproducer.reader import FragmentSummary, ReadFragment
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["StoredFragment", "frames_left", "last_stored"]

# Used for a source of unknown duration, because ListFragments needs an end. No file is longer.
_LONGEST: Final = 366 * TICKS_PER_DAY
_MAX_READ: Final = 20  # our limit: fragments read to find the last one

ListFragments = Callable[[tuple[int, int]], list[FragmentSummary]]
GetMedia = Callable[[int], Iterator[ReadFragment]]


@dataclass(frozen=True, slots=True)
class StoredFragment:
    """The last stored fragment of a file: its producer timestamp in ticks, and its frame count."""

    begin: int
    frames: int


def last_stored(
    list_between: ListFragments, read_from: GetMedia, start: int, duration: int | None
) -> StoredFragment | None:
    """Return the last stored fragment of a file, or None if there is none.

    `start` is the time of the file's first frame, and `duration` is the file's duration in ticks.
    `list_between` lists the fragments of a time range. `read_from` reads fragments from a producer
    timestamp on. A stream that does not exist has no fragments. Raises what `list_fragments` and
    `get_media` raise.
    """
    span = start - start % TICKS_PER_MS, start + (_LONGEST if duration is None else duration)
    try:
        found = list_between(span)
    except KvsError as error:
        if error.status is StatusCode.SERVICE_CALL_RESOURCE_NOT_FOUND_ERROR:
            return None
        raise
    if not found:
        return None
    last = max(found, key=lambda fragment: (fragment.producer_timestamp, int(fragment.number)))
    frames = 0
    for _, fragment in zip(range(_MAX_READ), read_from(last.producer_timestamp), strict=False):
        if int(fragment.number or 0) == int(last.number):
            frames = len(fragment.frames)
            break
    return StoredFragment(last.producer_timestamp, frames)


def frames_left(
    frames: Iterator[Frame],
    last: StoredFragment,
    fragment_duration: int,
    skipped: Callable[[int], object],
) -> Iterator[Frame]:
    """Yield the frames of a source that are not stored, from the beginning of a fragment on.

    `fragment_duration` is in ticks. `skipped` is called once, with the number of stored frames,
    which are not yielded. Raises INVALID_ARG if no fragment of the file begins where the last
    stored fragment does. Then the stored fragment was put with another start time, or is from
    another file.
    """
    stored, least = last.begin // TICKS_PER_MS, fragment_duration // TICKS_PER_MS
    begin: int | None = None
    count = 0
    again: list[Frame] = []  # the frames of the last stored fragment
    for frame in frames:
        if frame.key_frame and (begin is None or frame.pts // TICKS_PER_MS - begin >= least):
            begin = (frame.pts - frame.lead) // TICKS_PER_MS
        if begin is None or begin < stored:
            count += 1
        elif begin == stored:
            again.append(frame)
        else:
            yield from _unless_whole(again, last, count, skipped)
            yield frame
            yield from frames
            return
    yield from _unless_whole(again, last, count, skipped)


def _unless_whole(
    again: list[Frame], last: StoredFragment, count: int, skipped: Callable[[int], object]
) -> Iterator[Frame]:
    if not again:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"the last stored fragment of this time range begins at {format_instant(last.begin)},"
            " but with this start time the file has no fragment there: use the start time of the"
            " put to resume",
        )
    whole = len(again) <= last.frames
    skipped(count + len(again) if whole else count)
    if not whole:
        yield from again
