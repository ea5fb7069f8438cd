"""What a simulated service has stored, block by block, against what was put into the stream.

Each fragment is parsed again: its payloads, tracks and times are compared with the books, its first
frame has to be one that a fragment may begin with, frames of a track come in order within a
session, the header has the parameter sets of its pictures, and its tags are ones that were put.
"""

from __future__ import annotations

from tests.simulation.books import Books, Broken
from tests.simulation.frames import frame_name, parameter_set
from tests.simulation.service import Connection

from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv.events import Block, ClusterStart, Tags, Tracks
from kvsproducer.wire import TAG_RESERVED_PREFIX

__all__ = ["Audit"]


class Audit:
    """Compares with `books`, to which streams that are opened add theirs. Raises `Broken`."""

    def __init__(self, books: list[Books], *, complete: bool = False) -> None:
        self._books = books
        self._complete = complete  # nothing gives way to other frames: no fragment has a hole

    def record(self, name: str, connection: Connection, fragment: Fragment) -> None:
        """The service has stored a fragment: compare it with what was put."""
        parser = MkvParser()
        parser.receive_data(b"".join(fragment.parts))
        parser.receive_eof()
        timecode, first, private, payload = 0, True, b"", b""
        tags: list[tuple[str, str]] = []
        while (event := parser.next_event()) is not None:
            if isinstance(event, Tracks):
                private = event.entries[0].codec_private
            elif isinstance(event, Tags):
                tags += event.pairs
            elif isinstance(event, ClusterStart):
                timecode = event.timecode
            elif isinstance(event, Block):
                payload = bytes(event.frames[0])
                if parameter_set(payload) not in private:
                    raise Broken(f"the header has other parameter sets than {payload[:40]!r}")
                number = fragment.info.number
                self._record_block(name, connection, event, payload, timecode, number, first=first)
                first = False
        self._record_tags(payload, tags)  # also those that came with the end of the fragment

    def _record_tags(self, payload: bytes, tags: list[tuple[str, str]]) -> None:
        """The metadata of the fragment that has that frame."""
        for name, value in tags:
            if not name.startswith(TAG_RESERVED_PREFIX):
                self._books[frame_name(payload)[0]].note_tag(name, value)

    def _record_block(
        self,
        name: str,
        connection: Connection,
        block: Block,
        payload: bytes,
        cluster: int,
        fragment: str,
        *,
        first: bool,
    ) -> None:
        camera, number = frame_name(payload)
        if camera >= len(self._books) or self._books[camera].info.name != name:
            raise Broken(f"the service stored {payload[:16]!r}, which nobody put into {name}")
        books, track = self._books[camera], block.track_number
        time = cluster + block.relative_timecode
        timecode = time if connection.absolute else None
        books.note_stored(number, payload, track, timecode, connection.opened)
        connection.stored.setdefault(fragment, []).append((books, number))
        if first and not books.starts_well(number):
            raise Broken(f"a fragment begins with frame {number}, which is no key frame")
        if number <= connection.order.get(track, -1):
            raise Broken(f"frame {number} after {connection.order[track]} in one session")
        whole = self._complete and len(books.info.tracks) == 1
        if whole and not first and not books.follows(number, connection.order.get(track)):
            raise Broken(f"a fragment has a hole before frame {number}")
        connection.order[track] = number
        if books.is_moved(number):
            return
        offset = books.pts(number) - time
        if connection.offset is None:
            connection.offset = offset
        if abs(connection.offset - offset) > books.tie:
            raise Broken(f"the times of frame {number} do not fit the session's others")
