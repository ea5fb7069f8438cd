"""The condition and the errors of `wait_stored`, for the blocking and the asyncio API.

The wait ends when all accepted frames up to a pts are stored or dropped, or when this can no longer
happen. Dropped frames end the wait with an error. The core only remembers the newest drops, so they
are checked after each change of the core.
"""

from __future__ import annotations

from kvsproducer import client as core
from kvsproducer.producer.outcome import with_last_error
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["StoredWait"]


class StoredWait:
    """A wait for the frames of `stream` up to `pts` (ticks).

    Callers of its methods must hold the producer's lock.
    """

    def __init__(self, stream: core.Stream, pts: int) -> None:
        self._stream = stream
        self._pts = pts
        self._dropped = stream.account().dropped
        self._lost = False  # whether a frame up to the pts was dropped during the wait

    def is_over(self) -> bool:
        """Return whether the wait is over: the frames are stored or dropped, or never will be."""
        stream = self._stream
        dropped = stream.account().dropped
        if dropped > self._dropped:
            self._dropped = dropped
            lost = stream.lost_pts
            self._lost |= lost is not None and lost[0] <= self._pts
        return self._is_settled() or stream.failure is not None or self._has_ended()

    def _is_settled(self) -> bool:
        until = self._stream.stored_until
        return until is not None and until >= self._pts

    def _has_ended(self) -> bool:
        return self._stream.freed or (self._stream.stopped and not self._stream.account().held)

    def error(self, limit_s: float, last_error: str) -> KvsError | None:
        """Return the error to raise after the wait, or None if all frames are stored.

        `limit_s` is the time limit of the wait, for the message. `last_error` is the message of the
        last call or upload if it failed, or "".
        """
        stream, pts = self._stream, self._pts
        lost = stream.lost_pts
        if self._is_settled():
            if not self._lost and (lost is None or not lost[0] <= pts <= lost[1]):
                return None
            reasons = ", ".join(f"{count} {reason}" for reason, count in stream.drops.items())
            return kvs_error(
                StatusCode.PUTMEDIA_LAST_PERSIST_ACK_NOT_RECEIVED,
                f"frames up to pts {pts} were dropped; all drops of the stream so far: {reasons}",
                stream=stream.name,
            )
        if stream.failure is not None:
            return stream.failure
        until = stream.stored_until
        so_far = "nothing is stored yet" if until is None else f"media is stored up to pts {until}"
        if self._has_ended():
            return kvs_error(
                StatusCode.STREAM_HAS_BEEN_STOPPED,
                f"no frame with pts {pts} or later was accepted before the stream ended; {so_far}",
                stream=stream.name,
            )
        begun = stream.open_fragment
        hint = ""
        if begun is not None and begun <= pts:
            hint = (
                f". The fragment from pts {begun} on is still open, and the service stores whole"
                " fragments: the next key frame, end_fragment() or flush() ends it"
            )
        detail = f"the media up to pts {pts} is not stored after {limit_s:g} s; {so_far}{hint}"
        error = kvs_error(StatusCode.OPERATION_TIMED_OUT, detail, stream=stream.name)
        return with_last_error(error, last_error)
