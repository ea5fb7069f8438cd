"""Marks that end the open fragment before the next key frame does.

The service stores and acknowledges whole fragments. Normally the start of the next fragment ends
the previous one. An end-of-fragment mark ends it earlier, in three cases: the application asks for
it, a stream is idle, or a key frame waits for space that only the open fragment could free.

After a mark the fragment takes no more frames. The next frame must begin a new fragment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kvsproducer.client.buffer.admission import Admission, WouldBlock
from kvsproducer.client.buffer.view import END_OF_FRAGMENT, SKIP
from kvsproducer.client.control import StreamControl
from kvsproducer.client.core import StreamCore
from kvsproducer.duration import ticks
from kvsproducer.mkv.tags import end_of_fragment_tag
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["FragmentEnd"]

_S: Final = StatusCode


class FragmentEnd:
    """Ends the open fragment of one stream.

    `reached` is True from the end of a fragment until the next one begins.
    """

    __slots__ = ("_admission", "_control", "_core", "reached")

    def __init__(self, core: StreamCore, control: StreamControl, admission: Admission) -> None:
        self._core = core
        self._control = control
        self._admission = admission
        self.reached = False

    def put(self, now: int) -> None:
        """Append an end-of-fragment mark with the metadata items that wait for a fragment.

        Raises MULTIPLE_CONSECUTIVE_EOFR if the fragment has ended already,
        CONTENT_VIEW_NO_MORE_ITEMS if there is no fragment, and END_OF_FRAGMENT_FRAME_INVALID_STATE
        if the stream begins fragments by time and not by key frames.
        """
        core, view = self._core, self._core.buffer.view
        if self.reached:
            core.refuse_until_key()
            raise kvs_error(
                _S.MULTIPLE_CONSECUTIVE_EOFR,
                "the fragment was ended already: put a key frame before the next end",
            )
        if not core.info.key_frame_fragmentation:
            raise kvs_error(
                _S.END_OF_FRAGMENT_FRAME_INVALID_STATE,
                "the fragment cannot be ended: fragments of this stream are cut by time "
                "(key_frame_fragmentation=False)",
            )
        self._control.leave_ready(now)
        newest = view.newest
        if newest is None or view.head == view.tail:
            raise kvs_error(
                _S.CONTENT_VIEW_NO_MORE_ITEMS, "there is no fragment to end: put a key frame first"
            )
        data = core.metadata.at_end() + end_of_fragment_tag()
        core.buffer.append_mark(data, charged=True)
        core.metadata.note_end()  # the mark carries it
        self.reached = core.attention = True
        if core.info.max_latency:
            self._admission.check_latency(ticks(core.info.max_latency))
        core.wake()

    @property
    def is_open(self) -> bool:
        """Whether a fragment is open, so that it takes frames, or at least a mark."""
        view = self._core.buffer.view
        newest = view.newest
        return (
            not self.reached
            and newest is not None
            and view.head > view.tail
            and not newest.flags & (END_OF_FRAGMENT | SKIP)
        )

    def put_late_metadata(self, *, last: bool = False) -> None:
        """End the open fragment with a mark if metadata waits for this fragment.

        The caller uses this before a fragment starts, and with `last` at the end of the stream. The
        key frame of the next fragment would end the open one too. But tags in front of a cluster
        belong to that cluster, so they need a mark. With `last`, the mark also carries the metadata
        queued for the next fragment. If the fragment was dropped or refused in the meantime, its
        metadata is dropped with it.
        """
        metadata = self._core.metadata
        if metadata.late() and self.is_open:
            data = metadata.at_end() if last else metadata.late()
            self._core.buffer.append_mark(data + end_of_fragment_tag(), charged=True)
            if last:
                metadata.note_end()
            self.reached = self._core.attention = True
        metadata.note_late()

    @contextmanager
    def before_waiting(self, begins: bool) -> Iterator[None]:
        """End the open fragment if a frame that begins the next one must wait and no ack can come.

        `begins`: the frame put in this context begins a fragment. The mark is not charged to the
        buffer, because space is short. It carries only the metadata that no other fragment can
        take.
        """
        try:
            yield
        except WouldBlock:
            core, view = self._core, self._core.buffer.view
            alone = view.head > view.tail and not self._admission.worth_waiting()
            if begins and alone and not core.buffer.closed_newest:
                data = core.metadata.late() + end_of_fragment_tag()
                core.buffer.append_mark(data, charged=False)
                core.metadata.note_late()
                self.reached = core.attention = True
                core.wake()
            raise
