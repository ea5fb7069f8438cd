"""Compare what the demo put with what came back, frame by frame.

The frames that were put are read from the clip a second time, independently of the upload. The
frames that came back are read with GetMedia. To save memory, both sides keep only the time and a
digest of each frame.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kvsproducer.cli.inspect import inspect_file
from kvsproducer.cli.recording import Recording
from kvsproducer.codecs.nal import annexb_to_avcc
from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.mkv.tracks import NalAdaptation, TrackType
from kvsproducer.reader import get_media
from kvsproducer.service.connection import Connection
from kvsproducer.sources import PutResult, open_source

if TYPE_CHECKING:
    from kvsproducer.sources.pyav import Decoded

__all__ = ["Check", "Frames", "compare", "expected_frames", "read_back"]


@dataclass(slots=True)
class Frames:
    """The frames of each track, by track number and in order.

    A frame is stored as (time in ms, digest of the payload).
    """

    tracks: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    kinds: dict[int, TrackType] = field(default_factory=dict)
    fragments: int = 0
    size: int = 0

    def add(self, track: int, time: int, payload: bytes | memoryview) -> None:
        """Add one frame; `time` is in ticks."""
        digest = hashlib.blake2b(payload, digest_size=16).digest()
        self.tracks.setdefault(track, []).append((time // TICKS_PER_MS, digest))
        self.size += len(payload)

    @property
    def count(self) -> int:
        """Number of frames in all tracks."""
        return sum(len(frames) for frames in self.tracks.values())


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table of results."""

    what: str
    put: str
    got: str
    passed: bool

    def as_dict(self) -> dict[str, object]:
        """Return the row for --json."""
        return {"what": self.what, "put": self.put, "got": self.got, "passed": self.passed}


def expected_frames(clip: Path, start: int) -> Frames:
    """Return the frames that the stream must have after `clip` was put at `start` (ticks)."""
    expected = Frames()
    with open_source(clip, start=start) as source:
        numbers = {info.track_id: n for n, info in enumerate(source.tracks, 1)}
        expected.kinds = {n: info.track_type for n, info in enumerate(source.tracks, 1)}
        annexb = NalAdaptation.ANNEXB_NALS in source.stream_info().nal_adaptation
        for frame in source.frames():
            track = numbers[frame.track_id]
            payload = frame.data
            if annexb and expected.kinds[track] is TrackType.VIDEO:
                payload = b"".join(annexb_to_avcc(payload)[0])
            expected.add(track, frame.pts, payload)
    return expected


def read_back(stream: str, reached: Connection, count: int, mkv: Path) -> Frames:
    """Read at most `count` frames with GetMedia. Write the MKV to `mkv`, and return the frames."""
    returned, recording = Frames(), Recording(str(mkv), force=True)
    fragments = get_media(stream, connection=reached)
    with closing(recording):
        for fragment in fragments:
            recording.add(fragment)
            returned.fragments += 1
            for frame in fragment.frames:
                returned.add(frame.track_number, frame.timestamp, frame.data)
            if returned.count >= count:
                break
    return returned


def compare(
    result: PutResult, expected: Frames, returned: Frames, decoded: Decoded, mkv: str
) -> list[Check]:
    """Return the checks of counts, timestamps, payloads, decoding, and the service's rules."""
    stored = Check(
        "fragments PERSISTED",
        str(result.fragments),
        str(returned.fragments),
        result.fragments == returned.fragments > 0,
    )
    checks = [stored]
    for track, frames in expected.tracks.items():
        name = expected.kinds[track].name.lower()
        got = returned.tracks.get(track, [])
        checks += [
            _counts(f"{name} frames", len(frames), len(got)),
            _same(f"{name} timestamps", [t for t, _ in frames], [t for t, _ in got]),
            _same(f"{name} payloads", [d for _, d in frames], [d for _, d in got]),
        ]
    checks.append(_counts("payload bytes", expected.size, returned.size))
    kinds = Counter({expected.kinds[n]: len(frames) for n, frames in expected.tracks.items()})
    checks.append(_counts("pictures decoded", kinds[TrackType.VIDEO], len(decoded.pts)))
    checks.append(_counts("sound frames decoded", kinds[TrackType.AUDIO], decoded.sounds))
    problems = inspect_file(mkv).problems
    first = problems[0][1] if problems else "none"
    checks.append(Check("what KVS would refuse", "none", first, not problems))
    return checks


def _counts(what: str, put: int, got: int) -> Check:
    return Check(what, f"{put:,}", f"{got:,}", put == got)


def _same(what: str, put: list[int] | list[bytes], got: list[int] | list[bytes]) -> Check:
    """Return a check that two lists are equal. If not, its text has the first difference."""
    if put == got:
        return Check(what, "all", "equal", True)
    place = next((i for i, (a, b) in enumerate(zip(put, got, strict=False)) if a != b), len(got))
    return Check(what, "all", f"differ from frame {place}", False)
