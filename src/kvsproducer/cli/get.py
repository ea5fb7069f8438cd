"""`kvs get`: a stream's fragments as one MKV file, or down a pipe."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, BinaryIO

import typer

from kvsproducer.cli.console import counted, err, print_json, reports, size_text, writing
from kvsproducer.cli.joined_mkv import JoinedMkv
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
from kvsproducer.cli.span import Span
from kvsproducer.cli.streams import writes_to_terminal
from kvsproducer.duration import TICKS_PER_SECOND, format_instant
from kvsproducer.reader import Awaited, ReadFragment
from kvsproducer.sources import ProducerOptions
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["get"]

_FRAGMENT_NUMBER_DIGITS = 20  # more than any time has


@dataclass(slots=True)
class _Bounds:
    """When to stop reading; ticks and a number, None: no bound."""

    duration: int | None
    max_fragments: int | None


@reports
def get(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="- is a pipe. Default: STREAM.mkv."),
    ] = None,
    start: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="earliest, now, 2026-01-02T03:04:05Z, seconds, or a fragment number.",
        ),
    ] = "earliest",
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", metavar="", help="Go on for as long as the stream lives."),
    ] = False,
    idle: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="End when nothing new has come for so long: seconds, 1m, PT10S.",
        ),
    ] = "5",
    duration: Annotated[
        str | None, typer.Option(metavar="DURATION", help="End after so much media: 30s, 5m, PT1H.")
    ] = None,
    max_fragments: Annotated[
        int | None, typer.Option(min=1, metavar="NUMBER", help="End after so many fragments.")
    ] = None,
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
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="What was got, as JSON.")
    ] = False,
) -> None:
    """Get media out of a stream as one playable MKV.

    Ends when nothing new has come for --idle, unless --follow. Timecodes stay as stored:
    milliseconds since 1970. Without any fragment it exits 1.

    Example: kvs get front-door -o - | ffplay -
    """
    stream = stream_option(stream)
    config = service_config(fips, dualstack, ip, proxy)
    options = connection(
        region, profile, endpoint_url, ca_bundle, no_verify_ssl, credentials_file, iot, config
    )
    idle_s = None if follow else seconds_option(idle)
    bounds = _Bounds(None if duration is None else duration_option(duration), max_fragments)
    reading = _Reading(stream, start, _start(start), idle, idle_s)
    written = _Written(_path(output, stream))
    with logged(log_file, verbose):
        _read(reading, options, bounds, written)
    if as_json:
        print_json(written.as_dict(), to_stderr=written.piped)
    elif not written.piped:
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
    awaited: Awaited = Awaited.ENDPOINT
    where: str = ""
    over: bool = False  # the service ended its answer
    limit: asyncio.Timeout | None = None

    def waits(self, what: Awaited, where: str) -> None:
        """Called by the reader. An answer is news; a call to the control plane ends by itself."""
        self.awaited, self.where = what, where
        if self.limit is not None and self.idle_s is not None:
            now = asyncio.get_running_loop().time()
            self.limit.reschedule(None if what is Awaited.ENDPOINT else now + self.idle_s)

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
        if self.awaited is not Awaited.MEDIA:
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
    """The MKV, in a file that its first fragment opens or down a pipe, and what is in it so far."""

    path: str
    mkv: JoinedMkv = field(default_factory=JoinedMkv)
    file: BinaryIO | None = None
    fragments: int = 0
    frames: int = 0
    bytes: int = 0
    span: Span = field(default_factory=Span)

    @property
    def piped(self) -> bool:
        return self.path == "-"

    def add(self, fragment: ReadFragment) -> None:
        """Write a fragment and count it."""
        with writing(self.path):
            if self.file is None:
                self.file = sys.stdout.buffer if self.piped else open(self.path, "wb")  # noqa: SIM115
            self.file.write(self.mkv.add(fragment))
            self.file.flush()
        self.span.add(fragment)
        self.fragments += 1
        self.frames += len(fragment.frames)
        self.bytes += sum(len(frame.data) for frame in fragment.frames)

    def reached(self, bounds: _Bounds) -> bool:
        enough = bounds.max_fragments is not None and self.fragments >= bounds.max_fragments
        return enough or (bounds.duration is not None and self.span.length >= bounds.duration)

    def close(self) -> None:
        if self.file is not None and not self.piped:
            self.file.close()

    def so_far(self) -> str:
        if not self.fragments:
            return "nothing was got"
        place = "were written" if self.piped else f"are in {self.path}"
        return f"{counted(self.frames, 'frame')} in {counted(self.fragments, 'fragment')} {place}"

    def show(self) -> None:
        length_s = self.span.length / TICKS_PER_SECOND
        err.print(
            f"got: {counted(self.frames, 'frame')}, {size_text(self.bytes)},"
            f" {length_s:.3f} s in {counted(self.fragments, 'fragment')}"
            f" from {format_instant(self.span.first or 0)} -> {self.path}",
            markup=False,
        )
        if self.mkv.repeated:
            err.print(f"left out: {counted(self.mkv.repeated, 'fragment')} that came twice")
        if self.mkv.headers > 1:
            changes = self.mkv.headers - 1
            err.print(f"the tracks changed {changes} times: the file holds that many more parts")

    def as_dict(self) -> dict[str, object]:
        return {
            "file": self.path,
            "fragments": self.fragments,
            "repeated": self.mkv.repeated,
            "headers": self.mkv.headers,
            "frames": self.frames,
            "bytes": self.bytes,
            "start": format_instant(self.span.first or 0),
            "duration_s": self.span.length / TICKS_PER_SECOND,
        }


def _read(reading: _Reading, options: ProducerOptions, bounds: _Bounds, written: _Written) -> None:
    """Get one fragment at least; errors and Ctrl-C carry a note that says so far what."""
    try:
        asyncio.run(_fetch(reading, options, bounds, written))
    except (KvsError, KeyboardInterrupt) as ended:
        if written.fragments or isinstance(ended, KeyboardInterrupt):
            ended.add_note(written.so_far())
        raise
    if not written.fragments:
        raise reading.nothing()


async def _fetch(
    reading: _Reading, options: ProducerOptions, bounds: _Bounds, written: _Written
) -> None:
    """Read and write until a bound is reached."""
    from kvsproducer.producer.service import Service
    from kvsproducer.reader import fragments, start_selector

    where = {key: value for key, value in options.items() if key != "device_info"}
    service = Service(**where)  # type: ignore[arg-type]
    source = fragments(service, reading.stream, start_selector(reading.begin), waits=reading.waits)
    try:
        while (fragment := await reading.next(source)) is not None:
            written.add(fragment)
            if written.reached(bounds):
                break
    finally:
        written.close()
        await source.aclose()
