"""`kvs put`: put media into a stream, and wait until the service has stored it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from kvsproducer.cli.console import Json, count_text, err, out, print_json, report_errors, size_text
from kvsproducer.cli.logs import LogFile, MetricsHost, MetricsPort, Verbose, log_to
from kvsproducer.cli.options import (
    CaBundle,
    CachingMode,
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
from kvsproducer.cli.progress import PutDisplay
from kvsproducer.cli.tracing import TraceFile, tracing
from kvsproducer.client import StreamingType
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND, as_timedelta, format_instant
from kvsproducer.producer.unreachable import UNREACHABLE
from kvsproducer.service.clock import now
from kvsproducer.service.config import Caching
from kvsproducer.sources import PutResult, Source, open_source, put_media
from kvsproducer.status import KvsError, StatusCode, kvs_error

__all__ = ["put"]

_MAX_SKIPS = 10  # how many skipped parts of the media are listed one by one


class Mode(StrEnum):
    """The streaming mode: how fast media is put, and what happens if the network is too slow."""

    REALTIME = "realtime"
    NEAR_REALTIME = "near-realtime"
    OFFLINE = "offline"


class Tracks(StrEnum):
    """Which tracks of the source to put."""

    ALL = "all"
    VIDEO = "video"
    AUDIO = "audio"


_MODES = {
    Mode.REALTIME: StreamingType.REALTIME,
    Mode.NEAR_REALTIME: StreamingType.NEAR_REALTIME,
    Mode.OFFLINE: StreamingType.OFFLINE,
}

ModeOption = Annotated[
    Mode | None,
    typer.Option(
        metavar="MODE",
        help="realtime and near-realtime put at the media's pace, offline as fast as it is stored"
        ". \\[default: offline for files that are kept, else realtime]",
    ),
]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="A media file, testsrc:\\[OPTIONS], or - for standard input."
    ),
]
Retention = Annotated[
    str,
    typer.Option(
        metavar="DURATION",
        help="How long a stream that is created here keeps media: 24h, 7d, PT2H, or 0.",
    ),
]
TracksOption = Annotated[
    Tracks, typer.Option(metavar="KIND", help="Tracks to put: all, video or audio.")
]
StartTime = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time of the first frame, such as 2026-01-02T03:04:05Z; local time without a zone"
        ". \\[default: now]",
    ),
]
FrameRate = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="Frames per second of raw H.264 or H.265. \\[default: as the media says, else 25]",
    ),
]
AnyCodec = Annotated[
    bool,
    typer.Option(
        "--any-codec",
        metavar="",
        help="Store encrypted media and codecs that KVS does not play: AV1, VP9, MP3, Opus, AC-3.",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="How long to wait while nothing is stored, and for the last acks: seconds, 2m, PT2M"
        ". \\[default: 120; offline: no limit]",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        metavar="",
        help="Continue an interrupted offline put after its last stored fragment; needs the same"
        " SOURCE and options, and its --start-time.",
    ),
]

Tag = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Tag for a stream that is created here; repeatable."),
]

KmsKey = Annotated[
    str, typer.Option(metavar="KEY", help="KMS key for a stream that is created here.")
]


@report_errors
def put(
    source: SourceArgument,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream.")],
    mode: ModeOption = None,
    retention: Retention = "24h",
    tracks: TracksOption = Tracks.ALL,
    start_time: StartTime = None,
    frame_rate: FrameRate = None,
    any_codec: AnyCodec = False,
    tag: Tag = None,
    kms_key_id: KmsKey = "",
    timeout: Timeout = None,
    resume: Resume = False,
    trace: TraceFile = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
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
    caching: CachingMode = Caching.ALL,
    as_json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", help="Show no progress.")
    ] = False,
) -> None:
    """Put media into a stream; create the stream if it does not exist.

    Exits with 0 only if every fragment is PERSISTED (RECEIVED without retention). SOURCE
    is MP4, MOV, MKV, TS, WAV, raw H.264 / H.265, standard input, or a synthetic picture such as
    testsrc:duration=5,rate=25,size=320x240,audio=1,codec=h265,bframes=2,gop=25.

    Example: kvs put clip.mp4 front-door --retention 24h
    """
    stream = stream_option(stream)
    config = service_config(fips, dualstack, ip, proxy, caching)
    reached = connection(
        region, profile, endpoint_url, ca_bundle, no_verify_ssl, credentials_file, iot, config
    )
    start = None if start_time is None else instant_option(start_time)
    kept = duration_option("--retention", retention)
    limit_s = None if timeout is None else seconds_option("--timeout", timeout)
    overrides = {"tags": _tags(tag or []), "kms_key_id": kms_key_id}
    with log_to(log_file, verbose), tracing(trace):
        result = _put(
            lambda: open_source(
                source, tracks=tracks.value, frame_rate=frame_rate, start=start, any_codec=any_codec
            ),
            stream,
            quiet=quiet,
            as_json=as_json,
            offline=mode is Mode.OFFLINE or (mode is None and kept > 0),
            streaming_type=None if mode is None else _MODES[mode],
            retention=as_timedelta(kept),
            stream_options=overrides,
            timeout=limit_s,
            resume=resume,
            metrics_port=metrics_port,
            metrics_host=metrics_host,
            connection=reached,
        )
    _print_outcome(result, as_json)


def _put(
    open_now: Callable[[], Source],
    stream: str,
    *,
    quiet: bool,
    as_json: bool,
    offline: bool,
    **options: Any,
) -> PutResult:
    """Put the source and show the progress. Add notes to errors that say how much was put.

    `options` are those of `put_media`.
    """
    # The progress display already shows this problem.
    warnings.filterwarnings("ignore", f".*{UNREACHABLE}", RuntimeWarning)
    display: PutDisplay | None = None
    source: Source | None = None
    try:
        source = open_now()
        _print_ignored(source, quiet)
        printed = len(source.warnings)
        _print_warnings(source.warnings, quiet)
        if not options["resume"]:
            _fix_start(source)
        display = PutDisplay(err, f"{source.name} -> {stream}", quiet=quiet or as_json)
        with display:
            result = put_media(source, stream, progress=display.update, **options)
        _print_warnings(result.warnings[printed:], quiet)  # found while reading
        return result
    except (KvsError, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) and not getattr(error, "__notes__", None):
            error.add_note("nothing was put" if display is None else display.so_far)
        if source is not None and display is not None and display.put_any and offline:
            _add_resume_note(source, error)
        raise


def _print_outcome(result: PutResult, as_json: bool) -> None:
    try:
        if as_json:
            print_json(_as_dict(result))
        else:
            _print_result(result)
        sys.stdout.flush()
    except OSError as error:
        error.add_note(f"all {count_text(result.frames, 'frame')} of {result.stream} are stored")
        raise


def _fix_start(source: Source) -> None:
    """Set the start time of a file to now if the user gave none.

    A message can then name the start time, which is needed to resume the put.
    """
    if source.start is None and not (source.live or source.synthetic):
        source.start = now()


def _add_resume_note(source: Source, error: BaseException) -> None:
    if source.failed:  # the source cannot be read further, so resuming would fail in the same way
        return
    if source.start is not None and not (source.live or source.synthetic):
        when = format_instant(source.start)
        error.add_note(f"to go on from there: the same command with --start-time {when} --resume")


def _tags(items: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise kvs_error(StatusCode.INVALID_ARG, f"--tag {item}: write NAME=VALUE")
        if name in pairs:
            raise kvs_error(StatusCode.INVALID_ARG, f"--tag {item}: {name} was given before")
        pairs[name] = value
    return pairs


def _print_ignored(source: Source, quiet: bool) -> None:
    if source.ignored and not quiet:
        taken = f"taken: {', '.join(source.taken)}; " if source.taken else ""
        err.print(f"{taken}left out: {', '.join(source.ignored)}", markup=False)


def _print_warnings(warnings: Sequence[str], quiet: bool) -> None:
    for warning in () if quiet else warnings:
        err.print(f"warning: {warning}", markup=False)


def _print_result(result: PutResult) -> None:
    if result.resumed:
        out.print(f"stored before: {count_text(result.resumed, 'frame')} of {result.stream}")
    out.print(
        f"stored: {count_text(result.frames, 'frame')}, {size_text(result.bytes)},"
        f" {result.duration / TICKS_PER_SECOND:.3f} s in {count_text(result.fragments, 'fragment')}"
        f" of {result.stream}, within {result.elapsed / TICKS_PER_SECOND:.2f} s",
        markup=False,
    )
    for skip in result.skips[:_MAX_SKIPS]:
        err.print(f"not put: {skip}", markup=False)
    if len(result.skips) > _MAX_SKIPS:
        err.print(f"not put: {count_text(result.skipped, 'frame')} in all")
    if result.jumps:
        jumps = count_text(result.jumps, "time")
        err.print(f"the timestamps of the media jumped {jumps}; they were shifted to continue")
    if result.hidden:
        hidden = count_text(result.hidden, "picture")
        err.print(f"stored as invisible: {hidden} that the file hides")
    if result.cut_away:
        err.print(
            f"left out: {count_text(result.cut_away, 'frame')} that the file's edit list hides"
        )
    if result.repairs:
        err.print(f"repaired: {result.repairs} timestamps that were missing or repeated")


def _as_dict(result: PutResult) -> dict[str, object]:
    latency = result.progress.latency
    return {
        "stream": result.stream,
        "frames": result.frames,
        "resumed": result.resumed,
        "bytes": result.bytes,
        "fragments": result.fragments,
        "skipped": result.skipped,
        "skips": [str(skip) for skip in result.skips],
        "jumps": result.jumps,
        "repairs": result.repairs,
        "hidden": result.hidden,
        "cut_away": result.cut_away,
        "warnings": list(result.warnings),
        "duration_s": result.duration / TICKS_PER_SECOND,
        "elapsed_s": result.elapsed / TICKS_PER_SECOND,
        "latency_ms": None if latency is None else latency / TICKS_PER_MS,
    }
