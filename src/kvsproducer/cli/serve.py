"""`kvs serve`: run the local Kinesis Video Streams endpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvsproducer.cli.console import err, report_errors, writing
from kvsproducer.cli.logs import LogFile, Verbose, log_to
from kvsproducer.status import ConnectionFailed, KvsError, StatusCode, StorageError, kvs_error

if TYPE_CHECKING:
    from ssl import SSLContext

    from botocore.session import Session

    from kvsproducer.endpoint import Credentials, Fault

__all__ = ["serve"]


_Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")]
_Port = Annotated[
    int,
    typer.Option(
        "--port", min=0, max=65535, metavar="PORT", help="Port to listen on; 0 takes a free one."
    ),
]
_Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Folder to keep the streams in. \\[default: in memory]"
    ),
]
_VerifySignatures = Annotated[
    bool,
    typer.Option(
        "--verify-signatures",
        metavar="",
        help="Accept only requests signed with this shell's AWS credentials, for --region.",
    ),
]
_Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Take the credentials of --verify-signatures from this profile.",
    ),
]
_Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="REGION",
        help="Region of the streams, and of signatures. \\[default: us-west-2; with"
        " --verify-signatures this shell's region]",
    ),
]
_TlsCertificate = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert", metavar="FILE", help="Serve HTTPS with this certificate chain (PEM)."
    ),
]
_TlsKey = Annotated[
    Path | None,
    typer.Option(
        "--tls-key",
        metavar="FILE",
        help="Private key of --tls-cert (PEM). \\[default: in the same file]",
    ),
]
_TlsSelfSigned = Annotated[
    Path | None,
    typer.Option(
        "--tls-self-signed",
        metavar="DIR",
        help="Serve HTTPS with a certificate that is made in this folder.",
    ),
]
_Quotas = Annotated[
    bool,
    typer.Option(
        "--quotas",
        metavar="",
        help="Take at most 5 fragments a second from each stream, as AWS does.",
    ),
]
_Faults = Annotated[
    Path | None,
    typer.Option(
        "--faults",
        metavar="FILE",
        help="Play the faults of this JSON script; see the how-to guide on the local endpoint.",
    ),
]


@report_errors
def serve(
    host: _Host = "127.0.0.1",
    port: _Port = 8080,
    data: _Data = None,
    verify_signatures: _VerifySignatures = False,
    profile: _Profile = None,
    region: _Region = None,
    tls_certificate: _TlsCertificate = None,
    tls_key: _TlsKey = None,
    tls_self_signed: _TlsSelfSigned = None,
    quotas: _Quotas = False,
    faults: _Faults = None,
    log_file: LogFile = None,
    verbose: Verbose = 0,
) -> None:
    """Run a local KVS endpoint until Ctrl-C.

    It speaks the service's HTTP API: boto3 and AWS's own producers work with it unchanged. The
    first line printed is `listening on http://HOST:PORT` (https with one of the --tls options).
    With --data, fragments acknowledged as PERSISTED are kept after a restart. -v prints a
    line for each request, -vv also prints the acks and each stored fragment.

    Example: kvs serve --port 8080 --data ./kvs-data
    """
    from kvsproducer.endpoint import EndpointLimits, LocalEndpoint, run_server
    from kvsproducer.endpoint.control import DEFAULT_REGION
    from kvsproducer.limits import SERVICE_MAX_FRAGMENTS_PER_S

    known = None
    if verify_signatures:
        session = _session(profile)
        known = _credentials(session)
        region = region or session.get_config_variable("region") or DEFAULT_REGION
    script = () if faults is None else _script(faults)
    limits = EndpointLimits(fragments_per_s=SERVICE_MAX_FRAGMENTS_PER_S if quotas else 0)
    endpoint = LocalEndpoint(
        data,
        host,
        port,
        verify_signatures=known,
        ssl_context=_tls(host, tls_certificate, tls_key, tls_self_signed),
        limits=limits,
        faults=script,
        region=region,
    )
    try:
        # Print warnings of the service, such as a full disk, on standard error.
        with log_to(log_file, verbose, warnings=True):
            run_server(endpoint, _listening)
    except (KvsError, BrokenPipeError):
        raise
    except OSError as error:
        if data is not None and error.filename is not None:
            raise StorageError(
                StatusCode.INVALID_OPERATION,
                f"cannot use the data folder {data}: {error.filename}: {error.strerror}",
            ) from error
        place = f"the folder {data} or " if data else ""
        raise ConnectionFailed(
            StatusCode.INVALID_OPERATION,
            f"cannot use {place}the address {host}:{port}: {_reason(error)}",
        ) from error
    err.print("stopped")


def _tls(
    host: str, certificate: Path | None, key: Path | None, self_signed: Path | None
) -> SSLContext | None:
    """Return the TLS context for the three options; raise INVALID_ARG if they conflict."""
    from kvsproducer.endpoint.certificates import make_certificates, server_context

    if self_signed is not None:
        if certificate is not None or key is not None:
            raise kvs_error(
                StatusCode.INVALID_ARG,
                "--tls-self-signed makes a certificate: give it without --tls-cert and --tls-key",
            )
        authority, certificate = make_certificates(self_signed, host)
        path = authority.absolute()
        err.print(f"clients have to trust {path}:", markup=False, soft_wrap=True)
        # The variables of boto3 and this SDK, of AWS's C producer and this SDK, and of kvssink.
        for name in ("AWS_CA_BUNDLE", "AWS_KVS_CACERT_PATH", "KVSSINK_CA_CERT_PATH"):
            err.print(f"  export {name}='{path}'", markup=False, soft_wrap=True)
    if certificate is None:
        if key is not None:
            raise kvs_error(StatusCode.INVALID_ARG, "--tls-key needs --tls-cert as well")
        return None
    return server_context(certificate, key)


def _script(file: Path) -> tuple[Fault, ...]:
    from kvsproducer.endpoint.faults import faults_from_json

    try:
        return faults_from_json(file.read_text(encoding="utf-8"))
    except KvsError as error:
        detail = error.detail.removeprefix("fault script: ")
        cause: Exception = error
    except UnicodeDecodeError as error:
        detail, cause = "it is not UTF-8 text", error
    except OSError as error:
        detail, cause = _reason(error), error
    raise kvs_error(StatusCode.INVALID_ARG, f"--faults {file}: {detail}") from cause


def _reason(error: OSError) -> str:
    """Return the operating system's text for an error; asyncio's text would repeat the address."""
    number = error.errno
    return os.strerror(number) if number and number > 0 else error.strerror or str(error)


def _listening(url: str) -> None:
    with writing("-"):
        print(f"listening on {url}", flush=True)  # noqa: T201  a plain line, for scripts to read


def _session(profile: str | None) -> Session:
    """Return a botocore session with the profile, and the settings of the environment."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    session = Session(profile=profile)
    try:
        session.get_scoped_config()
    except BotoCoreError as error:
        raise kvs_error(StatusCode.INVALID_ARG, str(error)) from error
    return session


def _credentials(session: Session) -> dict[str, Credentials]:
    """Return the credentials of the session: requests must be signed with them."""
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
