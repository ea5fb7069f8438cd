"""Going on with a file of which a part is stored already: which frames are left to put.

A put is resumed with the same file and the same start time. Then each fragment of the file has a
known producer timestamp, to the millisecond. KVS stores whole fragments, and an offline stream
sends them in order, so everything before the last stored fragment is there. The last one may have
been ended early by the interruption: when it has fewer frames than in the file, it is put again.

Where fragments begin is decided as the stream itself decides (`mkv.generator`): with the first key
frame after the fragment duration.
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

# Of a source that does not know its duration: none is longer, and ListFragments wants an end.
_LONGEST: Final = 366 * TICKS_PER_DAY
_MAX_READ: Final = 20  # ours: fragments looked at to find the last one

ListFragments = Callable[[tuple[int, int]], list[FragmentSummary]]
GetMedia = Callable[[int], Iterator[ReadFragment]]


@dataclass(frozen=True, slots=True)
class StoredFragment:
    """The last stored fragment of a file: its producer timestamp in ticks, and its frames."""

    begin: int
    frames: int


def last_stored(
    list_between: ListFragments, read_from: GetMedia, start: int, duration: int | None
) -> StoredFragment | None:
    """Return the last stored fragment of a file, or None.

    `start` is the time of the file's first frame, `duration` the file's; in ticks. `list_between`
    lists the fragments of a span, `read_from` reads them from a producer timestamp on. A stream
    that does not exist has none. Raises what `list_fragments` and `get_media` raise.
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

    `fragment_duration` in ticks. `skipped` is called once, with the number of frames before them.
    Raises INVALID_ARG when no fragment of the file begins where the last stored one does: that was
    put with another start time, or is of another file.
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
            f"the last stored fragment of this span of time begins at {format_instant(last.begin)},"
            " where this file with this start time has no fragment: give the start time of the put"
            " that is to be resumed",
        )
    whole = len(again) <= last.frames
    skipped(count + len(again) if whole else count)
    if not whole:
        yield from again
