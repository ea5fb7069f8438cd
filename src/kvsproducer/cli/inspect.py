"""`kvs inspect`: show the contents of an MKV file, and what KVS would refuse.

The parser reads the contents. `fragment_rules` checks each fragment for the ERROR ack that the
service would send, and for the status that the producer SDK would raise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from kvsproducer import limits, wire
from kvsproducer.cli.console import (
    EXIT_FAILURE,
    Json,
    count_text,
    escape_control,
    out,
    print_json,
    print_table,
    report_errors,
    size_text,
)
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND, format_instant
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv.events import (
    Block,
    ClusterStart,
    EbmlHeader,
    Event,
    SegmentInfo,
    Tags,
    TrackEntry,
    Tracks,
)
from kvsproducer.status import InvalidMedia, StatusCode, kvs_error
from kvsproducer.status.system import in_words

if TYPE_CHECKING:
    from kvsproducer.cli.fragment_rules import Rules
    from kvsproducer.cli.track_rules import Problem

__all__ = ["Inspection", "inspect", "inspect_file"]

_CHUNK: Final = 64 * limits.KIB
_NS_PER_TICK: Final = 100
# A Tags element with one of these belongs to the fragment before it, others to the one after.
_BEHIND_FRAGMENT: Final = frozenset((wire.TAG_END_OF_FRAGMENT, wire.TAG_CONTINUATION_TOKEN))
_YEAR_2000: Final = 946_684_800 * TICKS_PER_SECOND  # an earlier cluster time is relative


@dataclass(slots=True)
class _Fragment:
    """One fragment (MKV cluster) of the file; `start` and `end` are in ticks."""

    timecode: int
    start: int
    end: int = 0
    bytes: int = 0
    key_frame: bool = False
    frames: dict[int, int] = field(default_factory=dict)
    tags: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[StatusCode, str]] = field(default_factory=list)
    warnings: list[tuple[StatusCode, str]] = field(default_factory=list)


@dataclass(slots=True)
class Inspection:
    """The contents and problems of a file.

    is_mkv: False if there is no EBML header; then `problems` has one entry with the reason.

    documents: the number of MKV documents.

    is_answer: whether the file contains tags of GetMedia.

    layouts: the tracks of the first document, and of each document whose tracks differ from those
    of the document before it. An entry is (number of the document from 1, tracks).

    problems: what the service would refuse, as (status, text). The problems of fragments come
    before those of tracks, and are also in the entries of their fragments.

    warnings: what the service stores but players or the producer SDK do not accept.
    """

    path: str
    bytes: int = 0
    is_mkv: bool = False
    timecode_scale_ns: int = 1_000_000
    writer: str = ""
    documents: int = 0
    is_answer: bool = False
    layouts: list[tuple[int, list[TrackEntry]]] = field(default_factory=list)
    fragments: list[_Fragment] = field(default_factory=list)
    problems: list[tuple[StatusCode, str]] = field(default_factory=list)
    warnings: list[tuple[StatusCode, str]] = field(default_factory=list)


class _Reader:
    """Collect an `Inspection` from the parser's events."""

    def __init__(self, inspection: Inspection) -> None:
        self.found = inspection
        self._pending: list[tuple[str, str]] = []

    def take(self, event: Event) -> None:
        """Add the content of one event."""
        found = self.found
        if isinstance(event, Block):
            self._block(event)
        elif isinstance(event, ClusterStart):
            start = event.timecode * found.timecode_scale_ns // _NS_PER_TICK
            found.fragments.append(_Fragment(event.timecode, start, start, tags=self._pending))
            self._pending = []
        elif isinstance(event, Tags):
            self._tags(event)
        elif isinstance(event, EbmlHeader):
            found.is_mkv = True
            found.documents += 1
        elif isinstance(event, Tracks):
            if not found.layouts or found.layouts[-1][1] != event.entries:
                found.layouts.append((found.documents, event.entries))
        elif isinstance(event, SegmentInfo):
            found.timecode_scale_ns = event.timecode_scale_ns
            found.writer = event.writing_app or event.muxing_app

    def _block(self, block: Block) -> None:
        fragment = self.found.fragments[-1]
        scale = self.found.timecode_scale_ns
        time = (fragment.timecode + block.relative_timecode) * scale // _NS_PER_TICK
        if not fragment.frames:
            fragment.key_frame = block.key_frame
        fragment.end = max(fragment.end, time)
        fragment.bytes += sum(len(frame) for frame in block.frames)
        count = fragment.frames.get(block.track_number, 0)
        fragment.frames[block.track_number] = count + len(block.frames)

    def _tags(self, event: Tags) -> None:
        names = {name for name, _ in event.pairs}
        if names & _BEHIND_FRAGMENT and self.found.fragments:
            own = [pair for pair in event.pairs if pair[0] != wire.TAG_END_OF_FRAGMENT]
            self.found.fragments[-1].tags += self._pending + own
            self._pending = []
        else:
            self._pending += event.pairs


def inspect_file(path: str) -> Inspection:
    """Read the whole file and return its inspection.

    Raises OPEN_FILE_FAILED or READ_FILE_FAILED. Invalid contents do not raise: they are problems of
    the inspection.
    """
    from kvsproducer.cli.fragment_rules import Rules
    from kvsproducer.cli.track_rules import track_problems

    found = Inspection(path)
    reader, parser, rules = _Reader(found), MkvParser(), Rules()
    try:
        with open(path, "rb") as file:
            found.bytes = os.fstat(file.fileno()).st_size
            while data := file.read(_CHUNK):
                parser.receive_data(data)
                _drain(parser, reader, rules)
        parser.receive_eof()
        _drain(parser, reader, rules)
        _note(found, rules.end())
    except InvalidMedia as error:
        _note(found, [rules.broken(error)])
    except OSError as error:
        raise kvs_error(StatusCode.OPEN_FILE_FAILED, f"{path}: {in_words(error)}") from error
    found.is_answer = rules.is_answer
    if found.is_mkv:
        for _, tracks in found.layouts or [(1, [])]:
            for problem in track_problems(tracks):
                kind = found.problems if problem.refused else found.warnings
                kind.append((problem.status, problem.text))
    elif not found.problems:
        found.problems.append((StatusCode.ACK_ERR_INVALID_MKV_DATA, "the file is empty"))
    return found


def _drain(parser: MkvParser, reader: _Reader, rules: Rules) -> None:
    while (event := parser.next_event()) is not None:
        reader.take(event)
        if problems := rules.take(event):
            _note(reader.found, problems, begins=isinstance(event, ClusterStart))


def _note(found: Inspection, problems: Sequence[Problem], *, begins: bool = False) -> None:
    """Add problems to the inspection, and to the fragments that they belong to.

    A fragment gets only one problem with the same status. `begins`: a fragment has just begun. A
    problem that matches no fragment is then added to this one, such as a problem of the document's
    header.
    """
    for status, text, timecode_ms, refused in problems:
        of_file = found.problems if refused else found.warnings
        named = [
            index
            for index, fragment in enumerate(found.fragments[-2:], max(0, len(found.fragments) - 2))
            if timecode_ms in (None, fragment.start // TICKS_PER_MS)
        ]
        if not named and begins:
            named = [len(found.fragments) - 1]
        if not named:
            of_file.append((status, text))
            continue
        fragment = found.fragments[named[-1]]
        own = fragment.problems if refused else fragment.warnings
        if status not in dict(own):
            own.append((status, text))
            where = f"fragment {named[-1] + 1} at {_instant(fragment.start)}"
            of_file.append((status, f"{where}: {text}"))


@report_errors
def inspect(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="An MKV file, or a saved answer of GetMedia.")
    ],
    as_json: Json = False,
) -> None:
    """Show tracks, fragments and tags of an MKV file, and what KVS would refuse.

    Exits with 1 if KVS would refuse something, and shows the ack error. Problems that KVS
    accepts, but players or the producer SDK do not, are warnings. A saved response of GetMedia is
    checked without the tags that the service added.

    Example: kvs inspect out.mkv
    """
    found = inspect_file(file)
    if as_json:
        print_json(_as_dict(found))
    elif found.is_mkv:
        _print_report(found)
    else:
        status, text = found.problems[0]
        out.print(f"{file}: not Matroska: STATUS_{status.name} {status.hex}: {text}", markup=False)
    if found.problems:
        raise typer.Exit(EXIT_FAILURE)


def _print_report(found: Inspection) -> None:
    writer = escape_control(found.writer) or "?"
    out.print(f"{escape_control(found.path)}: {size_text(found.bytes)}, written by {writer}")
    if found.is_answer:
        out.print(f"This is a response of GetMedia: {count_text(found.documents, 'MKV document')}.")
    elif found.documents > 1:
        out.print(
            f"The file has {found.documents} MKV documents: PutMedia accepts only one on a"
            " connection, and many players show only the first."
        )
    for document, tracks in found.layouts:
        print_table(_track_table(tracks, document if len(found.layouts) > 1 else None))
    if found.fragments:
        print_table(_fragment_table(found))
    for number, fragment in enumerate(found.fragments, 1):
        if fragment.tags:
            tags = ", ".join(escape_control(f"{name}={value}") for name, value in fragment.tags)
            out.print(f"tags of fragment {number}: {tags}", markup=False)
    if not found.problems:
        out.print(
            "KVS would accept it: no limit is exceeded."
            if found.fragments
            else "KVS would store nothing: there is no fragment."
        )
    for status, text in found.problems:
        out.print(f"refused: STATUS_{status.name} {status.hex}: {text}", markup=False)
    for status, text in found.warnings:
        out.print(f"warning: STATUS_{status.name} {status.hex}: {text}", markup=False)


def _track_table(entries: list[TrackEntry], document: int | None) -> Table:
    title = "tracks" if document is None else f"tracks from document {document} on"
    tracks = Table("track", "codec", "picture / sound", "codec private", title=title)
    for track in entries:
        kind = f"{track.width}x{track.height}" if track.width else ""
        if track.sampling_frequency:
            kind = f"{track.sampling_frequency:.0f} Hz, {track.channels} channel(s)"
        private = f"{len(track.codec_private)} bytes"
        tracks.add_row(str(track.number), escape_control(track.codec_id), kind, private)
    return tracks


def _fragment_table(found: Inspection) -> Table:
    fragments = Table(title=f"fragments: {len(found.fragments)}")
    fragments.add_column("time", no_wrap=True)
    for name in ("length", "bytes", "frames", "key", "tags", "KVS"):
        fragments.add_column(name)
    for fragment in found.fragments:
        frames = ", ".join(f"{n}: {count}" for n, count in sorted(fragment.frames.items()))
        fragments.add_row(
            _instant(fragment.start),
            f"{(fragment.end - fragment.start) / TICKS_PER_SECOND:.3f} s",
            f"{fragment.bytes:,}",
            frames,
            "yes" if fragment.key_frame else "no",
            str(len(fragment.tags)),
            ", ".join(status.hex for status, _ in fragment.problems) or "ok",
        )
    return fragments


def _instant(ticks: int) -> str:
    return format_instant(ticks) if ticks > _YEAR_2000 else f"{ticks / TICKS_PER_SECOND:.3f} s"


def _as_dict(found: Inspection) -> dict[str, object]:
    return {
        "file": found.path,
        "bytes": found.bytes,
        "timecode_scale_ns": found.timecode_scale_ns,
        "writer": found.writer,
        "documents": found.documents,
        "get_media_answer": found.is_answer,
        "tracks": [
            {
                "document": document,
                "number": track.number,
                "codec_id": track.codec_id,
                "codec_private_bytes": len(track.codec_private),
                "width": track.width,
                "height": track.height,
                "sampling_frequency": track.sampling_frequency,
                "channels": track.channels,
            }
            for document, tracks in found.layouts
            for track in tracks
        ],
        "fragments": [
            {
                "timecode": fragment.timecode,
                "time_ms": fragment.start // TICKS_PER_MS,
                "duration_ms": (fragment.end - fragment.start) // TICKS_PER_MS,
                "bytes": fragment.bytes,
                "frames": {str(track): count for track, count in fragment.frames.items()},
                "key_frame": fragment.key_frame,
                "tags": dict(fragment.tags),
                "problems": _problems(fragment.problems),
                "warnings": _problems(fragment.warnings),
            }
            for fragment in found.fragments
        ],
        "problems": _problems(found.problems),
        "warnings": _problems(found.warnings),
    }


def _problems(problems: list[tuple[StatusCode, str]]) -> list[dict[str, str]]:
    return [
        {"status": f"STATUS_{status.name}", "code": status.hex, "what": text}
        for status, text in problems
    ]
