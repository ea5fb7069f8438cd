"""Many fragments, one playable file: what GetMedia answers, joined.

GetMedia repeats the whole MKV header for every fragment and wraps it in the service's own tags.
Players want one header, then clusters (RFC 9559 section 5.1: one Segment of unknown size). The
header is written again only when the tracks change, which starts a new Matroska document in the
same file; FFmpeg plays on. The producer's metadata stay, the service's tags go. A fragment that was
sent twice after a lost connection is written once.

Bytes in, bytes out; it does no I/O. Timecodes stay as stored: milliseconds since 1970 when the
producer's were absolute.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final

from kvsproducer.mkv import MkvParser, tags
from kvsproducer.mkv.events import (
    Block,
    ClusterStart,
    EbmlHeader,
    Event,
    SegmentInfo,
    SegmentStart,
    Skipped,
    Tags,
    TrackEntry,
    Tracks,
)
from kvsproducer.reader import ReadFragment

__all__ = ["JoinedMkv"]

_AWS_PREFIX: Final = "AWS"
_REMEMBERED: Final = 256  # ours: fragments among which a repeated one is found


class JoinedMkv:
    """Joins fragments: `add` each, write what it returns. `headers`, `repeated` count."""

    def __init__(self) -> None:
        self._layout: tuple[int, list[TrackEntry]] | None = None
        self._recent: deque[bytes] = deque(maxlen=_REMEMBERED)
        self.headers = 0
        self.repeated = 0

    def add(self, fragment: ReadFragment) -> bytes:
        """The bytes that follow what came before; b"" for a fragment that is there already."""
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
                metadata += _kept(event)
            elif isinstance(event, ClusterStart | Block) or (cluster and _in_cluster(event)):
                cluster.append(event.raw)
        media = b"".join(cluster)
        digest = hashlib.blake2b(media, digest_size=16).digest()
        if digest in self._recent:
            self.repeated += 1
            return b""
        self._recent.append(digest)
        layout = fragment.timecode_scale_ns, fragment.tracks
        if layout == self._layout:
            header = []
        else:
            self._layout = layout
            self.headers += 1
        return b"".join([*header, *metadata, media])


def _in_cluster(event: Event) -> bool:
    """Whether this is one of a Cluster's lesser elements; those of the Segment come before it."""
    return isinstance(event, Skipped)


def _kept(event: Tags) -> list[bytes]:
    """The Tags element without the service's items: verbatim, rewritten, or nothing."""
    pairs = [(name, value) for name, value in event.pairs if not name.startswith(_AWS_PREFIX)]
    if not pairs:
        return []
    return [event.raw if len(pairs) == len(event.pairs) else tags(pairs)]
