"""Certificates for an endpoint over HTTPS: given files, or an authority of its own in a folder.

`trustme` makes the certificates; it comes with the extra `tls`.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from kvsproducer.status import StatusCode, kvs_error

__all__ = ["make_certificates", "server_context"]

_CA: Final = "ca.pem"
_SERVER: Final = "server.pem"
_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_UNSPECIFIED: Final = {"", "0.0.0.0", "::"}  # noqa: S104  only compared


def server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """A server's TLS settings: PEM files with the certificate chain and its private key.

    Without `key` the first file holds both. Raises KvsError INVALID_ARG: a file cannot be read, or
    is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = str(certificate) if key is None else f"{certificate} and {key}"
        why = getattr(error, "strerror", None) or str(error)
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"no certificate with its key in {files} (PEM): {why}",
        ) from error
    return context


def make_certificates(folder: Path, host: str) -> tuple[Path, Path]:
    """The certificate of an authority, and a server's with its key; made if they are not there.

    The server's is for localhost, 127.0.0.1, ::1 and `host`. The authority's key is not kept: the
    files of a folder stay valid until they are deleted.
    Raises KvsError INVALID_ARG (they cannot be written) or INVALID_OPERATION (no trustme).
    """
    authority, server = folder / _CA, folder / _SERVER
    if authority.exists() and server.exists():
        return authority, server
    try:
        import trustme
    except ImportError as error:
        raise kvs_error(
            StatusCode.INVALID_OPERATION,
            "making certificates needs trustme: pip install 'kvsproducer[tls]'",
        ) from error
    names = dict.fromkeys((*_NAMES, *({host} - _UNSPECIFIED)))
    made = trustme.CA(organization_name="kvs serve", organization_unit_name="local endpoint")
    issued = made.issue_cert(*names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        server.touch(mode=0o600)
        issued.private_key_and_cert_chain_pem.write_to_path(str(server))
        made.cert_pem.write_to_path(str(authority))
    except OSError as error:
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"cannot write certificates to {folder}: {error.strerror}",
        ) from error
    return authority, server
