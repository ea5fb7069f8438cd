"""GetMedia: select the first fragment of a response, and each fragment after it.

Source: Kinesis Video Streams media API 2017-09-30, GetMedia and StartSelector. `layout` builds the
bytes of a response, and `server` waits for new fragments. A response contains only stored
fragments, each once, ordered by number. If a fragment is damaged on the disk, it is skipped and an
error is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kvsproducer import wire
from kvsproducer.endpoint.errors import invalid_argument
from kvsproducer.endpoint.fragment import FRAGMENT_NUMBER_DIGITS, Fragment, FragmentInfo
from kvsproducer.endpoint.index import Axis
from kvsproducer.endpoint.members import Members
from kvsproducer.endpoint.payloads import DamagedFragment
from kvsproducer.endpoint.store import Store
from kvsproducer.endpoint.streams import StreamRecord

__all__ = ["GetMediaCursor", "StartSelector", "parse_start_selector"]

_log = logging.getLogger(__name__)

_AXES: Final = {"SERVER_TIMESTAMP": Axis.SERVER, "PRODUCER_TIMESTAMP": Axis.PRODUCER}


@dataclass(frozen=True, slots=True)
class StartSelector:
    """Where a response starts. `kind` is one of `wire.START_SELECTORS`.

    For FRAGMENT_NUMBER and CONTINUATION_TOKEN, the response starts with the next fragment after the
    number `after`. For both TIMESTAMP kinds, it starts with the fragment at `instant` (ticks), or
    else the next one.
    """

    kind: str
    after: str = ""
    instant: int = 0


def parse_start_selector(members: Members) -> StartSelector:
    """Parse the StartSelector of a GetMedia request. Raises ServiceError InvalidArgument."""
    selector = members.required_object("StartSelector")
    kind = selector.choice("StartSelectorType", wire.START_SELECTORS)
    if kind in _AXES:
        return StartSelector(kind, instant=selector.instant("StartTimestamp"))
    if kind == "FRAGMENT_NUMBER":
        return StartSelector(kind, after=fragment_number(selector, "AfterFragmentNumber"))
    if kind == "CONTINUATION_TOKEN":
        return StartSelector(kind, after=fragment_number(selector, "ContinuationToken"))
    return StartSelector(kind)


def fragment_number(members: Members, name: str) -> str:
    """Return a required fragment number, padded with zeros to 47 digits."""
    text = members.required_text(name)
    padded = text.zfill(FRAGMENT_NUMBER_DIGITS)
    if not text.isascii() or not text.isdigit() or len(padded) > FRAGMENT_NUMBER_DIGITS:
        raise invalid_argument(f"{name} is not a fragment number of this service.")
    return padded


class GetMediaCursor:
    """An iterator over a stream's stored fragments.

    `record` is a function that returns the stream's current record.
    """

    def __init__(
        self, store: Store, record: Callable[[], StreamRecord], selector: StartSelector
    ) -> None:
        self._store = store
        self._record = record
        self._selector = selector
        self._last = ""

    def next_fragment(self, now: int) -> Fragment | None:
        """Return the next fragment, or None if it is not stored yet.

        Blocks while it reads from the disk. Raises OSError.
        """
        record = self._record()
        oldest = now - record.retention
        while (info := self._next_info(record.arn, oldest)) is not None:
            self._last = info.number
            try:
                fragment = self._store.read(record.arn, oldest, info.number)
            except DamagedFragment as error:
                _log.error("GetMedia skips the damaged fragment %s: %s", info.number, error)
                continue
            if fragment is not None:  # None: it expired between the two look-ups
                return fragment
        return None

    def _next_info(self, arn: str, oldest: int) -> FragmentInfo | None:
        selector = self._selector
        if self._last or selector.kind not in {"NOW", *_AXES}:
            return self._store.next_after(arn, oldest, self._last or selector.after)
        if selector.kind == "NOW":
            return self._store.latest(arn, oldest)
        return self._store.first_reaching(arn, oldest, _AXES[selector.kind], selector.instant)
