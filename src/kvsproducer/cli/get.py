"""`kvs get`: a stream's fragments as one MKV file, or down a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

import typer

from kvsproducer.cli.console import Json, counted, err, print_json, reports, shown, size_text
from kvsproducer.cli.logs import LogFile, Verbose, logged
from kvsproducer.cli.options import (
    CaBundle,
    CredentialsFile,
    Dualstack,
    EndpointUrl,
    Fips,
    Iot,
    IpVersion,
    NoVerify,
    Profile,
    Proxy,
    Region,
    connection,
    duration_option,
    instant_option,
    seconds_option,
    service_config,
    stream_option,
)
from kvsproducer.cli.recording import Recording
from kvsproducer.cli.span import Span
from kvsproducer.cli.streams import writes_to_terminal
from kvsproducer.duration import TICKS_PER_SECOND, format_instant
from kvsproducer.mkv.events import TrackEntry
from kvsproducer.reader import ReadFragment, WaitStage
from kvsproducer.service.connection import Connection
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["get"]

_FRAGMENT_NUMBER_DIGITS = 20  # more than any time has


_Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File to write, or - for standard output. \\[default: STREAM.mkv]",
    ),
]
_Force = Annotated[bool, typer.Option("--force", metavar="", help="Overwrite files that exist.")]
_Start = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Where to begin: earliest, now, a time (2026-01-02T03:04:05Z; local time without a"
        " zone), seconds since 1970, or the number of the fragment before.",
    ),
]
_Follow = Annotated[
    bool,
    typer.Option(
        "--follow", "-f", metavar="", help="Go on until Ctrl-C, instead of ending after --idle."
    ),
]
_Idle = Annotated[
    str,
    typer.Option(
        metavar="DURATION",
        help="End when nothing new has come for this time: seconds, 1m, PT10S.",
    ),
]
_Duration = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="End after this much media: 30s, 5m, PT1H."),
]
_MaxFragments = Annotated[
    int | None, typer.Option(min=1, metavar="NUMBER", help="End after this many fragments.")
]


@dataclass(slots=True)
class _Bounds:
    """When to stop reading; ticks and a number, None: no bound."""

    duration: int | None
    max_fragments: int | None


@reports
def get(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream.")],
    output: _Output = None,
    force: _Force = False,
    start: _Start = "earliest",
    follow: _Follow = False,
    idle: _Idle = "5",
    duration: _Duration = None,
    max_fragments: _MaxFragments = None,
    log_file: LogFile = None,
    verbose: Verbose = 0,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    ca_bundle: CaBundle = None,
    no_verify_ssl: NoVerify = False,
    credentials_file: CredentialsFile = None,
    iot: Iot = False,
    fips: Fips = False,
    dualstack: Dualstack = False,
    ip: IpVersion = None,
    proxy: Proxy = None,
    as_json: Json = False,
) -> None:
    """Get media out of a stream as a playable MKV.

    Ends when nothing new has come for --idle, unless --follow. Timecodes stay as stored:
    milliseconds since 1970. Where the tracks change a file of its own begins: OUT.mkv, OUT-2.mkv
    and so on. Without any fragment it exits 1.

    Example: kvs get front-door -o - | ffplay -
    """
    stream = stream_option(stream)
    config = service_config(fips, dualstack, ip, proxy)
    reached = connection(
        region, profile, endpoint_url, ca_bundle, no_verify_ssl, credentials_file, iot, config
    )
    idle_s = None if follow else seconds_option("--idle", idle)
    bounds = _Bounds(
        None if duration is None else duration_option("--duration", duration), max_fragments
    )
    reading = _Reading(stream, start, _start(start), idle, idle_s)
    written = _Written(Recording(_path(output, stream), force))
    with logged(log_file, verbose):
        _read(reading, reached, bounds, written)
    if as_json:
        print_json(written.as_dict(), to_stderr=written.recording.piped)
    elif not written.recording.piped:
        written.show()


def _path(output: str | None, stream: str) -> str:
    if output == "-" and writes_to_terminal():
        raise kvs_error(
            StatusCode.INVALID_ARG,
            "media is nothing for a terminal: pipe it (kvs get STREAM -o - | ffplay -) or name a"
            " file after -o",
        )
    return output or f"{stream}.mkv"


def _start(text: str) -> str | int:
    if text.lower() in ("earliest", "now"):
        return text.lower()
    if text.isdigit() and len(text) > _FRAGMENT_NUMBER_DIGITS:
        return text
    return instant_option(text)


@dataclass(slots=True)
class _Reading:
    """What was asked for, in the user's words (`begin` as it is sent), and what is waited for."""

    stream: str
    start: str
    begin: str | int
    idle: str
    idle_s: float | None
    awaited: WaitStage = WaitStage.ENDPOINT
    where: str = ""
    over: bool = False  # the service ended its answer
    limit: asyncio.Timeout | None = None

    def waits(self, what: WaitStage, where: str) -> None:
        """Called by the reader. An answer is news; a call to the control plane ends by itself."""
        self.awaited, self.where = what, where
        if self.limit is not None and self.idle_s is not None:
            now = asyncio.get_running_loop().time()
            self.limit.reschedule(None if what is WaitStage.ENDPOINT else now + self.idle_s)

    async def next(self, source: AsyncIterator[ReadFragment]) -> ReadFragment | None:
        """The next fragment; None when there is none, or none came in time."""
        try:
            async with asyncio.timeout(self.idle_s) as self.limit:
                fragment = await anext(source, None)
                self.over = fragment is None
                return fragment
        except TimeoutError:
            return None

    def nothing(self) -> KvsError:
        """Why no fragment has come, and what to do."""
        if self.awaited is not WaitStage.MEDIA:
            return kvs_error(
                StatusCode.OPERATION_TIMED_OUT,
                f"{self.where} did not answer {self.awaited} within --idle {self.idle}: is it a"
                " Kinesis Video Streams endpoint, and up? Check --endpoint-url, --region and"
                " --proxy; a longer --idle waits longer",
                stream=self.stream,
            )
        said = "ended its answer" if self.over else f"was silent for --idle {self.idle}"
        earliest = self.start.lower() == "earliest"
        advice = (
            "the stream holds nothing: was something put, is its retention above 0?"
            if earliest
            else "see what it holds with --start earliest; wait for a producer with --follow"
        )
        return kvs_error(
            StatusCode.NO_MORE_DATA_AVAILABLE,
            f"{self.where} answered, sent no fragment from {self.start} on and {said}: {advice}",
            stream=self.stream,
        )


@dataclass(slots=True)
class _Written:
    """The recording, and what is said about it."""

    recording: Recording
    span: Span = field(default_factory=Span)
    start: int | None = None  # ticks since 1970; the producer's time of the first fragment

    def __post_init__(self) -> None:
        self.recording.on_layout = self._describe

    def add(self, fragment: ReadFragment) -> None:
        """Write a fragment and count it."""
        self.recording.add(fragment)
        self.span.add(fragment)
        if self.start is None:
            # Blocks of a stream with relative times count from the start of their upload.
            self.start = fragment.producer_timestamp or self.span.first

    def _describe(self, tracks: list[TrackEntry], document: int) -> None:
        """Warn of tracks that players cannot decode, and of a second document on a pipe."""
        from kvsproducer.cli.track_rules import track_problems

        if document > 1 and self.recording.piped:
            err.print(
                "warning: the tracks change here, so that a new MKV document begins: many players"
                " stop at it; -o FILE writes a file for each"
            )
        for problem in track_problems(tracks):
            err.print(f"warning: {shown(problem.text)}", markup=False)

    def reached(self, bounds: _Bounds) -> bool:
        fragments = self.recording.fragments
        enough = bounds.max_fragments is not None and fragments >= bounds.max_fragments
        return enough or (bounds.duration is not None and self.span.length >= bounds.duration)

    def so_far(self) -> str:
        """What Ctrl-C or an error leaves behind."""
        recording = self.recording
        if not recording.fragments:
            return "nothing was got"
        place = "were written" if recording.piped else f"are in {self._files()}"
        frames, fragments = recording.frames, recording.fragments
        return f"{counted(frames, 'frame')} in {counted(fragments, 'fragment')} {place}"

    def _files(self) -> str:
        return ", ".join(self.recording.files)

    def show(self) -> None:
        """Print the result for a person."""
        recording = self.recording
        err.print(
            f"got: {counted(recording.frames, 'frame')}, {size_text(recording.payload_bytes)},"
            f" {self.span.length / TICKS_PER_SECOND:.3f} s"
            f" in {counted(recording.fragments, 'fragment')}"
            f" from {format_instant(self.start or 0)} -> {self._files()}",
            markup=False,
        )
        if recording.repeated:
            err.print(f"left out: {counted(recording.repeated, 'fragment')} that came twice")
        if len(recording.files) > 1:
            err.print(f"the tracks changed: there are {len(recording.files)} files")
        elif recording.documents > 1:
            err.print(f"the tracks changed: the output holds {recording.documents} MKV documents")

    def as_dict(self) -> dict[str, object]:
        """The result as --json prints it."""
        recording = self.recording
        return {
            "file": recording.path,
            "files": recording.files,
            "fragments": recording.fragments,
            "repeated": recording.repeated,
            "headers": recording.documents,
            "frames": recording.frames,
            "bytes": recording.payload_bytes,
            "start": format_instant(self.start or 0),
            "duration_s": self.span.length / TICKS_PER_SECOND,
        }


def _read(reading: _Reading, reached: Connection, bounds: _Bounds, written: _Written) -> None:
    """Get one fragment at least; errors and Ctrl-C carry a note that says so far what."""
    try:
        asyncio.run(_fetch(reading, reached, bounds, written))
    except (KvsError, KeyboardInterrupt) as ended:
        if written.recording.fragments or isinstance(ended, KeyboardInterrupt):
            ended.add_note(written.so_far())
        raise
    if not written.recording.fragments:
        raise reading.nothing()


async def _fetch(
    reading: _Reading, reached: Connection, bounds: _Bounds, written: _Written
) -> None:
    """Read and write until a bound is reached."""
    from kvsproducer.reader import fragments, start_selector
    from kvsproducer.service.service import Service

    service = Service(reached)
    source = fragments(
        service, reading.stream, start_selector(reading.begin), on_wait=reading.waits
    )
    try:
        while (fragment := await reading.next(source)) is not None:
            written.add(fragment)
            if written.reached(bounds):
                break
    finally:
        written.recording.close()
        await source.aclose()
