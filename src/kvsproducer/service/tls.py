"""The TLS context that `verify=` stands for: TLS 1.2 or newer, host names checked.

The control plane and the media connections use the same context. If the caller gives no CA bundle,
the trusted roots are the system's and those of botocore, so that a machine without root
certificates (a slim container image) can upload too.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from typing import Final

from kvsproducer import limits
from kvsproducer.duration import format_instant
from kvsproducer.service.clock import now
from kvsproducer.status import StatusCode, kvs_error
from kvsproducer.status.system import in_words

__all__ = ["Verify", "clock_hint", "tls_context"]

Verify = bool | str | os.PathLike[str] | None
"""The types of `verify=`; None means True, as in boto3."""

_HASHED_NAME: Final = re.compile(r"[0-9a-f]{8}\.\d+")
_CERTIFICATE_NAMES: Final = (".pem", ".crt", ".cer")
_OUTSIDE_ITS_DATES: Final = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """Return the TLS context for `verify`, as in boto3.

    verify: True for the default roots, False to accept any certificate, or the path of a file or
        folder of trusted root certificates.

    Raises INVALID_CA_CERT_PATH for a path without certificates, INVALID_CERT_PATH_LENGTH for a path
    of more than 4096 characters, and CURL_LIBRARY_INIT_FAILED if the TLS library of this machine
    cannot be set up.
    """
    if isinstance(verify, str):
        return _own_roots(verify)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if verify:
            from botocore.httpsession import get_cert_path

            _load_roots_of_system(context)
            context.load_verify_locations(cafile=get_cert_path(True))
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    except OSError as error:  # ssl.SSLError is one
        raise _no_tls(error) from error
    return context


def _load_roots_of_system(context: ssl.SSLContext) -> None:
    """Trust the system's root certificates, as `ssl.create_default_context` does.

    `create_default_context` holds the interpreter lock while it reads them, for 100 ms and more,
    and a `put_frame` in another thread would wait for it. `load_verify_locations` releases the
    lock.
    """
    paths = ssl.get_default_verify_paths()
    if os.name == "nt":  # Windows does not keep them in files
        context.load_default_certs()
    elif paths.cafile or paths.capath:
        context.load_verify_locations(cafile=paths.cafile, capath=paths.capath)


def clock_hint(error: ssl.SSLCertVerificationError) -> str:
    """Return a hint to check the clock if the certificate is outside its validity dates, else "".

    A machine without a battery-backed clock starts with a time in the past and later gets the time
    from the network. From then on the certificate is valid, so a later attempt succeeds.
    """
    if error.verify_code not in _OUTSIDE_ITS_DATES:
        return ""
    return f"; this machine's clock says {format_instant(now())}: set it if that is wrong"


def _own_roots(path: str) -> ssl.SSLContext:
    if len(path) > limits.MAX_PATH_LEN:
        raise kvs_error(
            StatusCode.INVALID_CERT_PATH_LENGTH,
            f"verify= has {len(path)} characters; at most {limits.MAX_PATH_LEN} are allowed",
        )
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    except ssl.SSLError as error:
        raise _no_tls(error) from error
    try:
        if os.path.isdir(path):
            _load_folder(context, path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as error:
        raise kvs_error(
            StatusCode.INVALID_CA_CERT_PATH,
            f"verify={path!r} is not a CA bundle: {in_words(error)}",
        ) from error
    return context


def _load_folder(context: ssl.SSLContext, path: str) -> None:
    """Trust the certificates in a folder, whatever the files are called.

    OpenSSL finds certificates in a folder only if their names are hashes (as `c_rehash` makes
    them), and silently ignores all other files. Raises OSError if the folder has no certificates.
    """
    context.load_verify_locations(capath=path)
    hashed = False
    for entry in os.scandir(path):
        if not entry.is_file():
            continue
        if _HASHED_NAME.fullmatch(entry.name):
            hashed = True
        elif entry.name.endswith(_CERTIFICATE_NAMES):
            with contextlib.suppress(ssl.SSLError):  # the file may be a private key
                context.load_verify_locations(cafile=entry.path)
    if not hashed and not context.get_ca_certs():
        raise OSError("no certificate (*.pem, *.crt, *.cer) in that folder")


def _no_tls(error: OSError) -> Exception:
    return kvs_error(
        StatusCode.CURL_LIBRARY_INIT_FAILED,
        f"TLS cannot be set up on this machine: {in_words(error)}",
    )
