"""`kvs serve`: the local Kinesis Video Streams endpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvsproducer.cli.console import err, reports, writing
from kvsproducer.cli.logs import LogFile, Verbose, logged
from kvsproducer.status import KvsError, StatusCode, kvs_error

if TYPE_CHECKING:
    from botocore.session import Session

    from kvsproducer.endpoint import Credentials, Fault

__all__ = ["serve"]


@reports
def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="0 takes a free one.")
    ] = 8080,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder for the streams (default: in memory)."),
    ] = None,
    verify_signatures: Annotated[
        bool,
        typer.Option(
            "--verify-signatures",
            metavar="",
            help="Accept only requests signed with this shell's AWS credentials, for --region.",
        ),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME", help="Profile to take those credentials from."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="REGION",
            help="Region of the streams (default: us-west-2; of signatures, this shell's first).",
        ),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(
            "--faults", metavar="FILE", help="Script of what is to go wrong, as JSON; see the docs."
        ),
    ] = None,
    log_file: LogFile = None,
    verbose: Verbose = 0,
) -> None:
    """Run a local KVS endpoint until Ctrl-C.

    It speaks the service's HTTP API: boto3 and AWS's own producers work with it unchanged. The
    first line printed is `listening on http://HOST:PORT`. With --data, what was acknowledged as
    PERSISTED is still there after a restart.

    Example: kvs serve --port 8080 --data ./kvs-data
    """
    from kvsproducer.endpoint import LocalEndpoint, run_server
    from kvsproducer.endpoint.control import DEFAULT_REGION

    known = None
    if verify_signatures:
        session = _session(profile)
        known = _credentials(session)
        region = region or session.get_config_variable("region") or DEFAULT_REGION
    script = () if faults is None else _script(faults)
    endpoint = LocalEndpoint(
        data, host, port, verify_signatures=known, faults=script, region=region
    )
    try:
        # What goes wrong in the service, a full disk say, is told on standard error as it happens.
        with logged(log_file, verbose, warnings=True):
            run_server(endpoint, _listening)
    except (KvsError, BrokenPipeError):
        raise
    except OSError as error:
        if data is not None and error.filename is not None:
            raise kvs_error(
                StatusCode.INVALID_OPERATION,
                f"cannot use the data folder {data}: {error.filename}: {error.strerror}",
            ) from error
        place = f"the folder {data} or " if data else ""
        raise kvs_error(
            StatusCode.INVALID_OPERATION,
            f"cannot use {place}the address {host}:{port}: {_reason(error)}",
        ) from error
    err.print("stopped")


def _script(file: Path) -> tuple[Fault, ...]:
    from kvsproducer.endpoint.faults import faults_from_json

    try:
        return faults_from_json(file.read_text(encoding="utf-8"))
    except KvsError as error:
        detail = error.detail.removeprefix("fault script: ")
        cause: Exception = error
    except UnicodeDecodeError as error:
        detail, cause = "it is no text", error
    except OSError as error:
        detail, cause = _reason(error), error
    raise kvs_error(StatusCode.INVALID_ARG, f"--faults {file}: {detail}") from cause


def _reason(error: OSError) -> str:
    """Why, in the system's words: asyncio's text repeats the address."""
    number = error.errno
    return os.strerror(number) if number and number > 0 else error.strerror or str(error)


def _listening(url: str) -> None:
    with writing("-"):
        print(f"listening on {url}", flush=True)  # noqa: T201  a plain line, for scripts to read


def _session(profile: str | None) -> Session:
    """This shell's, as far as AWS is concerned."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    session = Session(profile=profile)
    try:
        session.get_scoped_config()
    except BotoCoreError as error:
        raise kvs_error(StatusCode.INVALID_ARG, str(error)) from error
    return session


def _credentials(session: Session) -> dict[str, Credentials]:
    """The keys that requests must be signed with: those that this shell would sign with."""
    from botocore.exceptions import BotoCoreError

    from kvsproducer.endpoint import Credentials

    try:
        found = session.get_credentials()
    except BotoCoreError as error:
        raise kvs_error(StatusCode.INVALID_ARG, str(error)) from error
    keys = None if found is None else found.get_frozen_credentials()
    if keys is None or keys.access_key is None or keys.secret_key is None:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            "--verify-signatures needs credentials: set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or name a --profile",
        )
    return {keys.access_key: Credentials(keys.secret_key, keys.token)}
