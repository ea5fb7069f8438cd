"""Write fragments of GetMedia to playable MKV files or to a pipe.

GetMedia repeats the whole MKV header for every fragment and adds the service's tags. Players need
one header followed by clusters (RFC 9559 section 5.1: one Segment of unknown size), so the header
is written once. The producer's metadata is kept, the service's tags are removed. Timecodes stay as
stored: milliseconds since 1970 if the producer's were absolute.

When the tracks change, a new MKV document has to begin. Few players read more than the first
document of a file, so each document is written to its own file: OUT.mkv, OUT-2.mkv and so on. A
pipe gets the documents one after the other.

After a lost connection a fragment may be stored twice; the first copy may be incomplete. Both have
the same producer timestamp. A file keeps the second copy, a pipe the first.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from kvsproducer.cli.console import writing
from kvsproducer.mkv import MkvParser, tags
from kvsproducer.mkv.events import (
    Block,
    ClusterStart,
    EbmlHeader,
    SegmentInfo,
    SegmentStart,
    Skipped,
    Tags,
    TrackEntry,
    Tracks,
)
from kvsproducer.reader import ReadFragment
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["Recording", "split_document"]

_AWS_PREFIX: Final = "AWS"
_REMEMBERED: Final = 256  # our choice: how many recent fragments are searched for a first copy

Layout = tuple[int, list[TrackEntry]]  # timecode scale and tracks


@dataclass(slots=True)
class _Place:
    """The position of a fragment in its file, and what it adds to the counts of the recording."""

    offset: int
    length: int
    digest: bytes
    frames: int
    payload: int  # bytes of the frames


@dataclass(slots=True)
class Recording:
    """The output of a command: files or standard output, with counts of what was written.

    path: the first file, or "-" for standard output.

    force: whether to overwrite existing files.

    on_layout: called before each document is written, with its tracks and its number (from 1).

    files: the files that were written.

    documents, fragments, frames, payload_bytes: how many were written.

    repeated: how many fragments were received a second time.
    """

    path: str
    force: bool = False
    on_layout: Callable[[list[TrackEntry], int], object] = lambda _tracks, _document: None
    files: list[str] = field(default_factory=list)
    documents: int = 0
    fragments: int = 0
    repeated: int = 0
    frames: int = 0
    payload_bytes: int = 0
    _seekable: bool = True
    _file: BinaryIO | None = None
    _layout: Layout | None = None
    _end: int = 0
    _recent: dict[int, _Place] = field(default_factory=dict)  # by producer timestamp

    def __post_init__(self) -> None:
        if self.piped or (os.path.exists(self.path) and not os.path.isfile(self.path)):
            self._seekable = False  # a FIFO or a device
        elif os.path.exists(self.path) and not self.force:
            raise _file_exists(self.path)

    @property
    def piped(self) -> bool:
        """Whether the media goes to standard output."""
        return self.path == "-"

    def add(self, fragment: ReadFragment) -> None:
        """Write a fragment. Raises WRITE_TO_FILE_FAILED."""
        header, media = split_document(fragment)
        layout = fragment.timecode_scale_ns, fragment.tracks
        if layout != self._layout:
            self._begin(layout, header)
        digest = hashlib.blake2b(media, digest_size=16).digest()
        payload = sum(len(frame.data) for frame in fragment.frames)
        place = _Place(self._end, len(media), digest, len(fragment.frames), payload)
        key = fragment.producer_timestamp or fragment.frames[0].timestamp
        earlier = self._recent.get(key)
        if earlier is None:
            self._write(media)
            self.fragments += 1
        else:
            self.repeated += 1
            if earlier.digest == digest or not self._seekable:
                return
            self._replace(earlier, place, media)
            self.frames -= earlier.frames
            self.payload_bytes -= earlier.payload
        self.frames += place.frames
        self.payload_bytes += place.payload
        self._recent[key] = place
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None and not self.piped:
            with writing(self.files[-1]):
                self._file.close()

    def _begin(self, layout: Layout, header: bytes) -> None:
        """Begin a document: the first one, or one whose tracks differ from the one before."""
        self.documents += 1
        self.on_layout(layout[1], self.documents)
        self._layout = layout
        self._recent.clear()
        if self._file is None or self._seekable:
            self.close()
            self._end = 0
            self._open()
        self._write(header)

    def _open(self) -> None:
        if self.piped:
            self.files.append(self.path)
            self._file = sys.stdout.buffer
            return
        path = self._next_path()
        with writing(path):
            if not self._seekable:
                self._file = open(path, "wb")  # noqa: SIM115  closed by `close`
            else:
                try:
                    self._file = open(path, "w+b" if self.force else "x+b")  # noqa: SIM115
                except FileExistsError as error:  # created since the check in `__post_init__`
                    raise _file_exists(path) from error
        self.files.append(path)

    def _next_path(self) -> str:
        """Return the path for the next document: OUT.mkv, then OUT-2.mkv and so on.

        After the first document, names of existing files are skipped unless `force` is set.
        """
        number, path = self.documents, Path(self.path)
        if number == 1:
            return self.path
        while True:
            name = path.with_name(f"{path.stem}-{number}{path.suffix}")
            if self.force or not name.exists():
                return str(name)
            number += 1

    def _write(self, data: bytes) -> None:
        assert self._file is not None, "a document has begun"
        with writing(self.files[-1]):
            self._file.write(data)
            self._file.flush()
        self._end += len(data)

    def _replace(self, earlier: _Place, place: _Place, media: bytes) -> None:
        """Replace the first copy of a fragment in the file, and move the data behind it."""
        assert self._file is not None, "a document has begun"
        place.offset = earlier.offset
        moved_by = place.length - earlier.length
        with writing(self.files[-1]):
            self._file.seek(earlier.offset + earlier.length)
            behind = self._file.read()
            self._file.seek(place.offset)
            self._file.write(media + behind)
            self._file.truncate()
            self._file.flush()
        self._end += moved_by
        for other in self._recent.values():
            if other.offset > place.offset:
                other.offset += moved_by


def split_document(fragment: ReadFragment) -> tuple[bytes, bytes]:
    """Return a fragment's MKV header, and its other content without the service's tags.

    The other content is the producer's metadata and the cluster.
    """
    header: list[bytes] = []
    metadata: list[bytes] = []
    cluster: list[bytes] = []
    parser = MkvParser()
    parser.receive_data(fragment.raw)
    parser.receive_eof()
    while (event := parser.next_event()) is not None:
        if isinstance(event, EbmlHeader | SegmentStart | SegmentInfo | Tracks):
            header.append(event.raw)
        elif isinstance(event, Tags):
            metadata += _producer_tags(event)
        elif isinstance(event, ClusterStart | Block) or (cluster and isinstance(event, Skipped)):
            cluster.append(event.raw)
    return b"".join(header), b"".join([*metadata, *cluster])


def _producer_tags(event: Tags) -> list[bytes]:
    """Return a list with the Tags element without the service's tags; empty if no tag is left."""
    pairs = [(name, value) for name, value in event.pairs if not name.startswith(_AWS_PREFIX)]
    if not pairs:
        return []
    return [event.raw if len(pairs) == len(event.pairs) else tags(pairs)]


def _file_exists(path: str) -> Exception:
    return kvs_error(
        StatusCode.INVALID_ARG,
        f"{path} exists already: --force overwrites it, -o names another file",
    )
