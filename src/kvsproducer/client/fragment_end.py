"""Marks that end the fragment being written, when no key frame does.

The service stores and acknowledges whole fragments. The next fragment ends the one before it; until
then, an end-of-fragment mark does: when the application asks for it, when a stream is idle, and
when a key frame waits for the space that only the open fragment could free.

After a mark the fragment takes no more frames: the next frame has to begin another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kvsproducer.client.buffer.admission import Admission, WouldBlock
from kvsproducer.client.control import StreamControl
from kvsproducer.client.core import StreamCore
from kvsproducer.duration import ticks
from kvsproducer.mkv.tags import end_of_fragment_tag
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["FragmentEnd"]

_S: Final = StatusCode


class FragmentEnd:
    """The end of one stream's open fragment. `reached`: it was ended, and no other has begun."""

    __slots__ = ("_admission", "_control", "_core", "reached")

    def __init__(self, core: StreamCore, control: StreamControl, admission: Admission) -> None:
        self._core = core
        self._control = control
        self._admission = admission
        self.reached = False

    def put(self, now: int) -> None:
        """End the open fragment with a mark, which carries the metadata that waits.

        Raises MULTIPLE_CONSECUTIVE_EOFR, END_OF_FRAGMENT_FRAME_INVALID_STATE for fragments that
        are cut by time, CONTENT_VIEW_NO_MORE_ITEMS.
        """
        core, view = self._core, self._core.buffer.view
        if self.reached:
            core.refuse_until_key()
            raise kvs_error(_S.MULTIPLE_CONSECUTIVE_EOFR, "the fragment is closed already")
        if not core.info.key_frame_fragmentation:
            raise kvs_error(
                _S.END_OF_FRAGMENT_FRAME_INVALID_STATE, "fragments of this stream are cut by time"
            )
        self._control.unpark(now)
        newest = view.newest
        if newest is None or view.head == view.tail:
            raise kvs_error(_S.CONTENT_VIEW_NO_MORE_ITEMS, "there is no fragment to close")
        data = core.metadata.at_end() + end_of_fragment_tag()
        core.buffer.append_mark(data, charged=True)
        core.metadata.ended()  # the mark has taken it
        self.reached = core.attention = True
        if core.info.max_latency:
            self._admission.check_latency(ticks(core.info.max_latency))
        core.wake()

    @contextmanager
    def before_waiting(self, begins: bool) -> Iterator[None]:
        """End the open fragment when a frame that would do so waits for space, and no ack can come.

        The mark is not charged, since space is short. Metadata that waits is the next fragment's.
        """
        try:
            yield
        except WouldBlock:
            core, view = self._core, self._core.buffer.view
            alone = view.head > view.tail and not self._admission.worth_waiting()
            if begins and alone and not core.buffer.closed_newest:
                core.buffer.append_mark(end_of_fragment_tag(), charged=False)
                self.reached = core.attention = True
                core.wake()
            raise
