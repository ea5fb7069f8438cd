"""Uploads of a stream. One upload is one PutMedia request, and only one at a time gets media.

Source: AWS's upload handles and their states. A stream may have several uploads. While a token is
rotated, the old upload finishes its session and waits for acks, and the new one takes over at a
stream start. Invariant: the oldest upload that still has bytes to send is the reader, and no other
upload gets media. So a new upload never begins within a fragment. (AWS's client gives data to the
upload that asks first.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvsproducer.client.buffer.view import PERSISTED, RECEIVED
from kvsproducer.client.effects import DataAvailable
from kvsproducer.client.states import UploadState
from kvsproducer.limits import MIN_UPLOAD_LIFE

__all__ = ["Upload", "Uploads"]

# Globals, because in CPython 3.11 an enum member lookup takes 0.2 us.
_NEW, _READY, _STREAMING, _TERMINATING, _AWAITING_ACK, _TERMINATED = UploadState
_READING: Final = (_READY, _STREAMING, _TERMINATING)
_REMEMBERED: Final = 4  # uploads that are over and kept until the caller asks for them


class Upload:
    """One upload. `last_fragment` is the index of the last fragment start that it sent."""

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
        self.first_index: int | None = None  # of the first item it sent
        self.last_fragment: int | None = None
        self.last_time: int | None = None  # the ack timestamp of that fragment's start
        self.acked_last: int | None = None  # the newest fragment for which it got PERSISTED
        self.acks = 0  # flags of the acks that changed a view item
        self.useless_bytes = 0  # bytes of its response since the last such ack
        self.session_start = 0  # ticks; base of the relative timecodes in its acks
        self.available: DataAvailable | None = None  # its DataAvailable effect, made once
        self.tail_bytes: bytes | None = None  # the rest of the bytes that end its session

    @property
    def active(self) -> bool:
        """True until the upload is over."""
        return self.state is not _TERMINATED

    @property
    def reading(self) -> bool:
        """True while the upload still gets media or the end-of-stream tag."""
        return self.state in _READING

    def is_streaming(self) -> bool:
        """Return whether the upload gets media.

        This is a method and not a property, because handing out buffers may change the result.
        """
        return self.state is _STREAMING

    @property
    def used(self) -> bool:
        """True if the upload got any media."""
        return self.first_index is not None

    def acknowledge(self, flag: int) -> None:
        """Record the flags that an ack added to a view item; 0 if it added none."""
        if flag:
            self.acks |= flag
            self.useless_bytes = 0

    def failed_despite_success(self, now: int, *, waits_for_acks: bool) -> bool:
        """Return whether an upload that ended with HTTP 200 has failed nevertheless.

        A captive portal or a broken proxy answers each PutMedia with HTTP 200 and ends it at once.
        So an upload that ended soon counts as failed unless the service has received media from it.
        An upload that lived longer and sent media counts as failed if it got no ack of any kind,
        although acks are expected (`waits_for_acks`).
        """
        if self.acks & (RECEIVED | PERSISTED):
            return False
        if now - self.opened_at < MIN_UPLOAD_LIFE:
            return True
        return waits_for_acks and self.used and not self.acks

    def carries(self, fragment: int) -> bool:
        """Return whether the upload sent media of the fragment that starts at item `fragment`."""
        first, last = self.first_index, self.last_fragment
        return first is not None and last is not None and first <= fragment <= last


class Uploads:
    """The uploads of one stream, oldest first."""

    __slots__ = ("_uploads", "newest_number", "reader")

    def __init__(self) -> None:
        self._uploads: list[Upload] = []
        self.newest_number: int | None = None
        self.reader: Upload | None = None  # cached, because each put reads it

    def __iter__(self) -> Iterator[Upload]:
        return iter(self._uploads)

    def __len__(self) -> int:
        return len(self._uploads)

    def add(self, number: int, now: int) -> Upload:
        """Add a new upload and return it."""
        upload = Upload(number, now)
        over = [old for old in self._uploads if not old.active]
        for old in over[:-_REMEMBERED]:
            self._uploads.remove(old)
        self._uploads.append(upload)
        self.newest_number = number
        return upload

    def find(self, number: int) -> Upload | None:
        """Return the upload with this number, or None if it was removed."""
        for upload in self._uploads:
            if upload.number == number:
                return upload
        return None

    def set_state(self, upload: Upload, state: UploadState) -> None:
        """Change the state of an upload."""
        upload.state = state
        self._find_reader()

    def remove(self, upload: Upload) -> None:
        """Remove an upload."""
        self._uploads.remove(upload)
        self._find_reader()

    def remove_new(self) -> None:
        """Remove the uploads that are still in the state NEW."""
        for upload in list(self._uploads):
            if upload.state is _NEW:
                self.remove(upload)

    def _find_reader(self) -> None:
        self.reader = next((upload for upload in self._uploads if upload.reading), None)

    def active(self, besides: Upload | None = None) -> list[Upload]:
        """Return the uploads that are not over."""
        return [upload for upload in self._uploads if upload.active and upload is not besides]

    def older_unfinished(self, upload: Upload) -> bool:
        """Return whether an older upload still waits for acks."""
        if self._uploads[0] is upload:
            return False
        return any(
            other.active and other.used for other in self._uploads[: self._uploads.index(upload)]
        )
