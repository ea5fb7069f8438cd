"""Certificates for an endpoint with HTTPS: read from files, or created with a local authority.

The package `trustme` creates the certificates; the extra `tls` installs it.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from kvsproducer.status import InvalidConfiguration, StatusCode, StorageError, kvs_error

__all__ = ["make_certificates", "server_context"]

_CA: Final = "ca.pem"
_SERVER: Final = "server.pem"
_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_UNSPECIFIED: Final = {"", "0.0.0.0", "::"}  # noqa: S104  only compared


def server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """Return a server's TLS context from PEM files: its certificate chain and its private key.

    Without `key`, the file `certificate` must contain both. Raises KvsError INVALID_ARG if a file
    cannot be read or has the wrong content.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = str(certificate) if key is None else f"{certificate} and {key}"
        why = getattr(error, "strerror", None) or str(error)
        raise kvs_error(
            StatusCode.INVALID_ARG,
            f"cannot load a certificate and its private key from {files} (PEM): {why}",
        ) from error
    return context


def make_certificates(folder: Path, host: str) -> tuple[Path, Path]:
    """Return the paths of an authority's certificate, and of a server's certificate with its key.

    Both files are in `folder`, and are created if they do not exist. The server's certificate is
    valid for localhost, 127.0.0.1, ::1 and `host`. The authority's key is not stored, so existing
    files are never changed; delete them to get new ones.

    Raises KvsError INVALID_ARG if a file cannot be written, and INVALID_OPERATION if trustme is not
    installed.
    """
    authority, server = folder / _CA, folder / _SERVER
    if authority.exists() and server.exists():
        return authority, server
    try:
        import trustme
    except ImportError as error:
        raise InvalidConfiguration(
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
        raise StorageError(
            StatusCode.INVALID_ARG,
            f"cannot write certificates to {folder}: {error.strerror}",
        ) from error
    return authority, server
