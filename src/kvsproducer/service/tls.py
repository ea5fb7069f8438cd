"""What `verify` means: TLS 1.2 and up, hosts checked, the caller's roots. One for both planes.

Without a bundle of the caller's, the roots are the system's and those that botocore uses: a machine
without a root store of its own (a slim container) can upload too.
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

__all__ = ["Verify", "at_wrong_time", "tls_context"]

Verify = bool | str | os.PathLike[str] | None
"""What may be given as `verify=`; None is True, as in boto3."""

_HASHED_NAME: Final = re.compile(r"[0-9a-f]{8}\.\d+")
_CERTIFICATE_NAMES: Final = (".pem", ".crt", ".cer")
_OUTSIDE_ITS_DATES: Final = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED


def tls_context(verify: bool | str) -> ssl.SSLContext:
    """The context for boto3's `verify`: True, False (any certificate will do), or a CA bundle.

    Raises INVALID_CA_CERT_PATH for a path that is no CA bundle, INVALID_CERT_PATH_LENGTH for one of
    more than 4096 characters, CURL_LIBRARY_INIT_FAILED when this machine's TLS library cannot be
    set up.
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
    """Trust the system's roots, as `ssl.create_default_context` does.

    That function reads them while it holds the interpreter lock, for 100 ms and more: a
    `put_frame` of another thread would wait so long. `load_verify_locations` releases the lock.
    """
    paths = ssl.get_default_verify_paths()
    if os.name == "nt":  # they are not in files
        context.load_default_certs()
    elif paths.cafile or paths.capath:
        context.load_verify_locations(cafile=paths.cafile, capath=paths.capath)


def at_wrong_time(error: ssl.SSLCertVerificationError) -> str:
    """What to add for a certificate that is not valid at this time, "" for any other refusal.

    A machine without a battery-backed clock starts in the past, until the network has told it the
    time: nothing is wrong with the peer then, and trying again helps.
    """
    if error.verify_code not in _OUTSIDE_ITS_DATES:
        return ""
    return f"; this machine's clock says {format_instant(now())}: set it if that is wrong"


def _own_roots(path: str) -> ssl.SSLContext:
    if len(path) > limits.MAX_PATH_LEN:
        raise kvs_error(StatusCode.INVALID_CERT_PATH_LENGTH, f"verify= of {len(path)} characters")
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
            StatusCode.INVALID_CA_CERT_PATH, f"verify={path!r} is no CA bundle: {in_words(error)}"
        ) from error
    return context


def _load_folder(context: ssl.SSLContext, path: str) -> None:
    """Trust what is in a folder, whatever the files are called; raises OSError for nothing.

    OpenSSL finds a folder's certificates by names made of hashes only (`c_rehash`), when it needs
    them; files with other names would be passed over without a word.
    """
    context.load_verify_locations(capath=path)
    hashed = False
    for entry in os.scandir(path):
        if not entry.is_file():
            continue
        if _HASHED_NAME.fullmatch(entry.name):
            hashed = True
        elif entry.name.endswith(_CERTIFICATE_NAMES):
            with contextlib.suppress(ssl.SSLError):  # a key, say
                context.load_verify_locations(cafile=entry.path)
    if not hashed and not context.get_ca_certs():
        raise OSError("no certificate (*.pem, *.crt, *.cer) in that folder")


def _no_tls(error: OSError) -> Exception:
    return kvs_error(
        StatusCode.CURL_LIBRARY_INIT_FAILED,
        f"TLS cannot be set up on this machine: {in_words(error)}",
    )
