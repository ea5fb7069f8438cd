"""`kvs serve`: the local Kinesis Video Streams endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvsproducer.cli.console import err, reports
from kvsproducer.cli.logs import LogFile, Verbose, logged
from kvsproducer.status import KvsError, StatusCode, kvs_error

if TYPE_CHECKING:
    from kvsproducer.endpoint import Credentials

__all__ = ["serve"]


@reports
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder for the streams (default: in memory)."),
    ] = None,
    verify_signatures: Annotated[
        bool,
        typer.Option(
            "--verify-signatures",
            help="Accept only requests signed with this shell's AWS credentials.",
        ),
    ] = False,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Profile to take those credentials from.")
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
    from kvsproducer.endpoint.faults import faults_from_json

    known = _credentials(profile) if verify_signatures else None
    script = () if faults is None else faults_from_json(_text(faults))
    endpoint = LocalEndpoint(data, host, port, verify_signatures=known, faults=script)
    try:
        # What goes wrong in the service, a full disk say, is told on standard error as it happens.
        with logged(log_file, verbose, warnings=True):
            run_server(endpoint, _listening)
    except KvsError:
        raise
    except OSError as error:
        place = f"the folder {data} or " if data else ""
        raise kvs_error(
            StatusCode.INVALID_OPERATION,
            f"cannot use {place}the address {host}:{port}: {error.strerror or error}",
        ) from error
    err.print("stopped")


def _text(script: Path) -> str:
    try:
        return script.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise kvs_error(StatusCode.INVALID_ARG, f"--faults {script}: {error}") from error


def _listening(url: str) -> None:
    print(f"listening on {url}", flush=True)  # noqa: T201  a plain line, for scripts to read


def _credentials(profile: str | None) -> dict[str, Credentials]:
    """The keys that requests must be signed with: those that this shell would sign with."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    from kvsproducer.endpoint import Credentials

    try:
        found = Session(profile=profile).get_credentials()
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
