"""`kvs get`: a stream's fragments as one MKV file, or down a pipe."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Got:
    """What was written."""

    fragments: int = 0
    frames: int = 0
    bytes: int = 0
    first: int = 0
    last: int = 0


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
    begin = _start(start)
    path = _path(output, stream)
    mkv = JoinedMkv()
    with logged(log_file, verbose):
        got = _read(_Reading(stream, start, idle, idle_s), begin, options, bounds, mkv, path)
    if as_json:
        print_json(_as_dict(got, mkv, path), to_stderr=path == "-")
    elif path != "-":
        _print_result(got, mkv, path)


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
    """What was asked for, in the user's words, and what is waited for."""

    stream: str
    start: str
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


def _read(
    reading: _Reading,
    start: str | int,
    options: ProducerOptions,
    bounds: _Bounds,
    mkv: JoinedMkv,
    path: str,
) -> _Got:
    """What was got, one fragment at least; errors and Ctrl-C carry a note that says so far what."""
    got = _Got()
    try:
        asyncio.run(_fetch(reading, start, options, bounds, mkv, path, got))
    except (KvsError, KeyboardInterrupt) as ended:
        if got.fragments or isinstance(ended, KeyboardInterrupt):
            ended.add_note(_so_far(got, path))
        raise
    if not got.fragments:
        raise reading.nothing()
    return got


async def _fetch(
    reading: _Reading,
    start: str | int,
    options: ProducerOptions,
    bounds: _Bounds,
    mkv: JoinedMkv,
    path: str,
    got: _Got,
) -> None:
    """Read until a bound is reached, and count in `got`; the first fragment opens the file."""
    from kvsproducer.producer.service import Service
    from kvsproducer.reader import fragments, start_selector

    where = {key: value for key, value in options.items() if key != "device_info"}
    service = Service(**where)  # type: ignore[arg-type]
    source = fragments(service, reading.stream, start_selector(start), waits=reading.waits)
    file: BinaryIO | None = None
    try:
        while (fragment := await reading.next(source)) is not None:
            with writing(path):
                if file is None:
                    file = sys.stdout.buffer if path == "-" else open(path, "wb")  # noqa: SIM115
                file.write(mkv.add(fragment))
                file.flush()
            _count(got, fragment)
            if _reached(got, bounds):
                break
    finally:
        if file is not None and path != "-":
            file.close()
        await source.aclose()


def _so_far(got: _Got, path: str) -> str:
    if not got.fragments:
        return "nothing was got"
    place = "were written" if path == "-" else f"are in {path}"
    return f"{counted(got.frames, 'frame')} in {counted(got.fragments, 'fragment')} {place}"


def _count(got: _Got, fragment: ReadFragment) -> None:
    times = [frame.timestamp for frame in fragment.frames]
    got.first = min(times) if not got.fragments else min(got.first, *times)
    got.last = max(got.last, *times)
    got.fragments += 1
    got.frames += len(times)
    got.bytes += sum(len(frame.data) for frame in fragment.frames)


def _reached(got: _Got, bounds: _Bounds) -> bool:
    enough = bounds.max_fragments is not None and got.fragments >= bounds.max_fragments
    return enough or (bounds.duration is not None and got.last - got.first >= bounds.duration)


def _print_result(got: _Got, mkv: JoinedMkv, path: str) -> None:
    length_s = (got.last - got.first) / TICKS_PER_SECOND
    err.print(
        f"got: {counted(got.frames, 'frame')}, {size_text(got.bytes)},"
        f" {length_s:.3f} s in {counted(got.fragments, 'fragment')}"
        f" from {format_instant(got.first)} -> {path}",
        markup=False,
    )
    if mkv.repeated:
        err.print(f"left out: {counted(mkv.repeated, 'fragment')} that came twice")
    if mkv.headers > 1:
        err.print(
            f"the tracks changed {mkv.headers - 1} times: the file holds that many more parts"
        )


def _as_dict(got: _Got, mkv: JoinedMkv, path: str) -> dict[str, object]:
    return {
        "file": path,
        "fragments": got.fragments,
        "repeated": mkv.repeated,
        "headers": mkv.headers,
        "frames": got.frames,
        "bytes": got.bytes,
        "start": format_instant(got.first),
        "duration_s": (got.last - got.first) / TICKS_PER_SECOND,
    }
