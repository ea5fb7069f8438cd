"""`kvs demo`: put a clip into a local endpoint, read it back, and compare.

Everything runs in one process and takes less than a minute. The clip is put, read back, decoded and
compared; a table shows the results. `clip` makes the media, `compare` compares what was put with
what came back, `contact_sheet` draws pictures of it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from kvsproducer.cli.console import (
    EXIT_FAILURE,
    Json,
    err,
    out,
    print_json,
    print_table,
    report_errors,
    writing,
)
from kvsproducer.cli.demo.clip import demo_clip
from kvsproducer.cli.demo.compare import Check, compare, expected_frames, read_back
from kvsproducer.cli.demo.contact_sheet import contact_sheet
from kvsproducer.cli.progress import PutDisplay
from kvsproducer.client import StreamingType
from kvsproducer.duration import TICKS_PER_MS
from kvsproducer.service.clock import now
from kvsproducer.service.connection import Connection
from kvsproducer.sources import PutResult, put_media

__all__ = ["demo"]

STREAM: Final = "demo"
REGION: Final = "us-west-2"


@report_errors
def demo(
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Put this media file. \\[default: a clip that is made here]"
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")
    ] = Path("demo-out"),
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", metavar="", help="Put the clip as fast as possible, not at its own pace."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the main job: file -> stream -> file, against a local endpoint, and check every byte.

    Exits with 1 if the media that was read back differs from the media that was put.

    Example: kvs demo --source clip.mp4
    """
    began = time.monotonic()
    realtime = source is None and not fast
    with tempfile.TemporaryDirectory(prefix="kvs-demo-") as folder:
        clip = source or demo_clip(Path(folder))
        err.print(f"clip: {clip}" + ("" if source else " (H.264 with B-frames, AAC; made here)"))
        checks, files = _round_trip(clip, Path(folder), output, realtime)
    elapsed_s = time.monotonic() - began
    passed = all(check.passed for check in checks)
    if as_json:
        verdict = {"passed": passed, "elapsed_s": elapsed_s, "files": [str(f) for f in files]}
        print_json(verdict | {"checks": [check.as_dict() for check in checks]})
    else:
        _print_verdict(checks, files, elapsed_s)
    if not passed:
        raise typer.Exit(EXIT_FAILURE)


def _round_trip(
    clip: Path, folder: Path, output: Path, realtime: bool
) -> tuple[list[Check], list[Path]]:
    """Put, get, decode and compare the clip; return the checks and the files in `output`."""
    from kvsproducer.endpoint import local_endpoint
    from kvsproducer.sources.pyav import decode_file

    start = now() // TICKS_PER_MS * TICKS_PER_MS
    expected = expected_frames(clip, start)
    with writing(str(output)):
        output.mkdir(parents=True, exist_ok=True)
    mkv = output / "came-back.mkv"
    with local_endpoint(folder / "data") as endpoint:
        reached = _connection(endpoint.url)
        err.print(f"endpoint: {endpoint.url} (SQLite and files in a temporary folder)")
        result = _put(clip, start, realtime, reached)
        returned = read_back(STREAM, reached, expected.count, mkv)
    sheet = output / "contact-sheet.png"
    with contact_sheet(sheet) as layout:
        decoded = decode_file(str(mkv), thumbnails=layout.cells, width=layout.cell_width,
                              height=layout.cell_height)  # fmt: skip
        layout.draw(decoded.thumbnails)
    files = [mkv, sheet] if decoded.thumbnails else [mkv]
    if clip.parent == folder:
        files.append(Path(shutil.copy(clip, output)))
    return compare(result, expected, returned, decoded, str(mkv)), files


def _put(clip: Path, start: int, realtime: bool, reached: Connection) -> PutResult:
    kind = StreamingType.REALTIME if realtime else StreamingType.OFFLINE
    with PutDisplay(err, f"{clip.name} -> {STREAM}") as display:
        return put_media(
            str(clip.absolute()),
            STREAM,
            streaming_type=kind,
            retention="PT1H",
            start=start,
            progress=display.update,
            connection=reached,
        )


def _connection(url: str) -> Connection:
    """Return a connection to the local endpoint.

    The endpoint accepts any keys, so these are the example keys of AWS's documentation.
    """
    from botocore.session import Session

    session = Session()
    session.set_credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    return Connection(region_name=REGION, session=session, endpoint_url=url)


def _print_verdict(checks: list[Check], files: list[Path], elapsed_s: float) -> None:
    table = Table("", "what", "put", "came back", title=f"verdict, after {elapsed_s:.1f} s")
    for check in checks:
        mark = Text("ok", "green") if check.passed else Text("DIFFERS", "bold red")
        table.add_row(mark, check.what, check.put, check.got)
    print_table(table)
    for file in files:
        out.print(f"written: {file}", markup=False)
