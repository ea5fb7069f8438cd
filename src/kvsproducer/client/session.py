"""Uploads as sessions: one PutMedia request each, of which one at a time is given media.

Facts: AWS's upload handles and their states. Several uploads of a stream may exist: while a token
is rotated, the old one finishes its session and waits for acks as the new one takes over at a
stream start. Invariant: the oldest upload that still has something to say is the reader; nobody
else gets media, so a new upload never begins in mid-fragment (AWS's client gives data to whichever
asks first).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvsproducer.client.buffer.view import PERSISTED, RECEIVED
from kvsproducer.client.effects import DataAvailable
from kvsproducer.client.states import UploadState
from kvsproducer.limits import MIN_UPLOAD_LIFE

__all__ = ["Upload", "Uploads"]

# As globals: in CPython 3.11 it takes 0.2 us to look a member up in its class.
_NEW, _READY, _STREAMING, _TERMINATING, _AWAITING_ACK, _TERMINATED = UploadState
_READING: Final = (_READY, _STREAMING, _TERMINATING)
_REMEMBERED: Final = 4  # uploads that were given up, until the shell asks for them


class Upload:
    """One upload. `last_fragment` is the index of the last fragment start that it was given."""

    __slots__ = (
        "acked_last",
        "acks",
        "available",
        "first_index",
        "idle",
        "last_fragment",
        "last_time",
        "number",
        "opened_at",
        "session_start",
        "state",
        "tail_bytes",
        "useless_bytes",
    )

    def __init__(self, number: int, now: int) -> None:
        self.number = number
        self.opened_at = now  # ticks
        self.state = _NEW
        self.idle = False  # the last read found no data: emit DataAvailable when there is some
        self.first_index: int | None = None  # of the first item it was given
        self.last_fragment: int | None = None
        self.last_time: int | None = None  # the ack timestamp of that fragment's start
        self.acked_last: int | None = None  # the newest fragment that it saw PERSISTED
        self.acks = 0  # flags of the acks that changed something
        self.useless_bytes = 0  # of its answer since the last such ack
        self.session_start = 0  # ticks; what relative timecodes of its acks count from
        self.available: DataAvailable | None = None  # the effect that says so, made once
        self.tail_bytes: bytes | None = None  # what ends its session and is still to be given

    @property
    def active(self) -> bool:
        """Whether it is not over."""
        return self.state is not _TERMINATED

    @property
    def reading(self) -> bool:
        """Whether it is still to be given media or the end-of-stream tag."""
        return self.state in _READING

    def is_streaming(self) -> bool:
        """Whether it is being given media; handing out buffers may end that."""
        return self.state is _STREAMING

    @property
    def used(self) -> bool:
        """Whether it was given any media."""
        return self.first_index is not None

    def acknowledge(self, flag: int) -> None:
        """Note what an ack changed: flags of a view item, 0 for an ack that changed nothing."""
        if flag:
            self.acks |= flag
            self.useless_bytes = 0

    def failed_quietly(self, now: int, *, waits_for_acks: bool) -> bool:
        """Return whether an exchange that ended with success was a failure all the same.

        A captive portal or a broken proxy answers each PutMedia with HTTP 200 and ends it at once.
        An upload that ended soon must have had media stored; one that lived longer and carried
        media, an ack of any kind.
        """
        if self.acks & (RECEIVED | PERSISTED):
            return False
        if now - self.opened_at < MIN_UPLOAD_LIFE:
            return True
        return waits_for_acks and self.used and not self.acks

    def carries(self, fragment: int) -> bool:
        """Whether it was given media of the fragment that starts at that index."""
        first, last = self.first_index, self.last_fragment
        return first is not None and last is not None and first <= fragment <= last


class Uploads:
    """The uploads of one stream, oldest first."""

    __slots__ = ("_uploads", "newest_number", "reader")

    def __init__(self) -> None:
        self._uploads: list[Upload] = []
        self.newest_number: int | None = None
        self.reader: Upload | None = None  # cached: asked for with every frame

    def __iter__(self) -> Iterator[Upload]:
        return iter(self._uploads)

    def __len__(self) -> int:
        return len(self._uploads)

    def add(self, number: int, now: int) -> Upload:
        """Announce a new upload."""
        upload = Upload(number, now)
        over = [old for old in self._uploads if not old.active]
        for old in over[:-_REMEMBERED]:
            self._uploads.remove(old)
        self._uploads.append(upload)
        self.newest_number = number
        return upload

    def find(self, number: int) -> Upload | None:
        """The upload of that number, unless it is over and forgotten."""
        for upload in self._uploads:
            if upload.number == number:
                return upload
        return None

    def set_state(self, upload: Upload, state: UploadState) -> None:
        """Move an upload on."""
        upload.state = state
        self._find_reader()

    def remove(self, upload: Upload) -> None:
        """Forget an upload."""
        self._uploads.remove(upload)
        self._find_reader()

    def remove_new(self) -> None:
        """Forget the uploads that did not begin."""
        for upload in list(self._uploads):
            if upload.state is _NEW:
                self.remove(upload)

    def _find_reader(self) -> None:
        self.reader = next((upload for upload in self._uploads if upload.reading), None)

    def active(self, besides: Upload | None = None) -> list[Upload]:
        """Those that are not over."""
        return [upload for upload in self._uploads if upload.active and upload is not besides]

    def older_unfinished(self, upload: Upload) -> bool:
        """Whether an older upload still waits for acks of what came before."""
        if self._uploads[0] is upload:
            return False
        return any(
            other.active and other.used for other in self._uploads[: self._uploads.index(upload)]
        )
