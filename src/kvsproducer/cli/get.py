"""`kvs get`: write a stream's fragments to an MKV file or a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

import typer

from kvsproducer.cli.console import (
    Json,
    count_text,
    err,
    escape_control,
    print_json,
    report_errors,
    size_text,
)
from kvsproducer.cli.logs import LogFile, Verbose, log_to
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

_FRAGMENT_NUMBER_DIGITS = 20  # a number with more digits is a fragment number, not a time


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
    """When to stop reading: after `duration` ticks or `max_fragments`; None: no limit."""

    duration: int | None
    max_fragments: int | None


@report_errors
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
    """Get media from a stream as a playable MKV.

    Ends when no new media has arrived for the --idle time, except with --follow. Timecodes stay as
    stored: milliseconds since 1970. When the tracks change, a new file begins: OUT.mkv, OUT-2.mkv
    and so on. Exits with 1 if there is no fragment.

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
    with log_to(log_file, verbose):
        _read(reading, reached, bounds, written)
    if as_json:
        print_json(written.as_dict(), to_stderr=written.recording.piped)
    elif not written.recording.piped:
        written.show()


def _path(output: str | None, stream: str) -> str:
    if output == "-" and writes_to_terminal():
        raise kvs_error(
            StatusCode.INVALID_ARG,
            "media is not written to a terminal: pipe it (kvs get STREAM -o - | ffplay -) or name"
            " a file after -o",
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
    """The options for reading, and the current stage of reading.

    stream, start, idle: the options as the user wrote them.

    begin: the option `start`, converted for GetMedia.

    idle_s: the option `idle` in seconds; None with --follow.

    awaited: what the command is waiting for.

    where: the URL or region from which it should come.
    """

    stream: str
    start: str
    begin: str | int
    idle: str
    idle_s: float | None
    awaited: WaitStage = WaitStage.ENDPOINT
    where: str = ""
    over: bool = False  # whether the service has ended its response
    limit: asyncio.Timeout | None = None

    def waits(self, what: WaitStage, where: str) -> None:
        """Record that the reader begins a new stage of waiting; the reader calls this method.

        The --idle time begins anew with each stage. It does not apply to GetDataEndpoint, which has
        its own time limit.
        """
        self.awaited, self.where = what, where
        if self.limit is not None and self.idle_s is not None:
            now = asyncio.get_running_loop().time()
            self.limit.reschedule(None if what is WaitStage.ENDPOINT else now + self.idle_s)

    async def next(self, source: AsyncIterator[ReadFragment]) -> ReadFragment | None:
        """Return the next fragment, or None at the end or if no fragment came within --idle."""
        try:
            async with asyncio.timeout(self.idle_s) as self.limit:
                fragment = await anext(source, None)
                self.over = fragment is None
                return fragment
        except TimeoutError:
            return None

    def nothing(self) -> KvsError:
        """Return the error for a command that received no fragment, with the cause and advice."""
        if self.awaited is not WaitStage.MEDIA:
            return kvs_error(
                StatusCode.OPERATION_TIMED_OUT,
                f"{self.where} did not answer {self.awaited} within --idle {self.idle}: is it a"
                " Kinesis Video Streams endpoint, and up? Check --endpoint-url, --region and"
                " --proxy; a longer --idle waits longer",
                stream=self.stream,
            )
        reason = "ended its response" if self.over else f"sent nothing for --idle {self.idle}"
        earliest = self.start.lower() == "earliest"
        advice = (
            "the stream is empty: check that media was put and that its retention is above 0"
            if earliest
            else "read what is stored with --start earliest; wait for new media with --follow"
        )
        return kvs_error(
            StatusCode.NO_MORE_DATA_AVAILABLE,
            f"{self.where} answered, sent no fragment from {self.start} on and {reason}: {advice}",
            stream=self.stream,
        )


@dataclass(slots=True)
class _Written:
    """The recording and its time span, from which the summary for the user is made."""

    recording: Recording
    span: Span = field(default_factory=Span)
    start: int | None = None  # producer timestamp of the first fragment, ticks since 1970

    def __post_init__(self) -> None:
        self.recording.on_layout = self._describe

    def add(self, fragment: ReadFragment) -> None:
        """Write a fragment and count it."""
        self.recording.add(fragment)
        self.span.add(fragment)
        if self.start is None:
            # In a stream with relative times, block times are relative to the start of the upload.
            self.start = fragment.producer_timestamp or self.span.first

    def _describe(self, tracks: list[TrackEntry], document: int) -> None:
        """Warn about tracks that players cannot decode, and about a new document on a pipe."""
        from kvsproducer.cli.track_rules import track_problems

        if document > 1 and self.recording.piped:
            err.print(
                "warning: the tracks change here, so a new MKV document begins; many players stop"
                " there, and -o FILE writes a file for each document"
            )
        for problem in track_problems(tracks):
            err.print(f"warning: {escape_control(problem.text)}", markup=False)

    def reached(self, bounds: _Bounds) -> bool:
        fragments = self.recording.fragments
        enough = bounds.max_fragments is not None and fragments >= bounds.max_fragments
        return enough or (bounds.duration is not None and self.span.length >= bounds.duration)

    def so_far(self) -> str:
        """Return a text about what was written so far, for the message after Ctrl-C or an error."""
        recording = self.recording
        if not recording.fragments:
            return "nothing was received"
        place = "were written" if recording.piped else f"are in {self._files()}"
        frames, fragments = recording.frames, recording.fragments
        return f"{count_text(frames, 'frame')} in {count_text(fragments, 'fragment')} {place}"

    def _files(self) -> str:
        return ", ".join(self.recording.files)

    def show(self) -> None:
        """Print the result as text."""
        recording = self.recording
        err.print(
            f"got: {count_text(recording.frames, 'frame')}, {size_text(recording.payload_bytes)},"
            f" {self.span.length / TICKS_PER_SECOND:.3f} s"
            f" in {count_text(recording.fragments, 'fragment')}"
            f" from {format_instant(self.start or 0)} -> {self._files()}",
            markup=False,
        )
        if recording.repeated:
            err.print(f"left out: {count_text(recording.repeated, 'fragment')} that came twice")
        if len(recording.files) > 1:
            err.print(f"the tracks changed: there are {len(recording.files)} files")
        elif recording.documents > 1:
            err.print(f"the tracks changed: the output holds {recording.documents} MKV documents")

    def as_dict(self) -> dict[str, object]:
        """Return the result for --json."""
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
    """Read the stream and write its fragments. Raise an error if there is no fragment.

    Errors and Ctrl-C get a note that says what was written so far.
    """
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
    """Read and write fragments until a limit is reached or there are no more."""
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
