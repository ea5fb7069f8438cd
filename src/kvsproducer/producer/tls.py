"""What `verify` means to aiohttp: TLS 1.2 and up, hosts checked, the caller's roots.

Without a bundle of the caller's, the roots are the system's and those that botocore uses for the
control plane: a machine without a root store of its own (a slim container) can upload too.
"""

from __future__ import annotations

import os
import ssl

from kvsproducer import limits
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["tls_context"]


def tls_context(verify: bool | str) -> ssl.SSLContext | bool:
    """What aiohttp wants for boto3's `verify`: False, or a context.

    Raises INVALID_CA_CERT_PATH for a path that is no CA bundle, INVALID_CERT_PATH_LENGTH for one of
    more than 4096 characters.
    """
    if verify is False:
        return False
    if verify is True:
        from botocore.httpsession import get_cert_path

        context = ssl.create_default_context()
        context.load_verify_locations(cafile=get_cert_path(True))
        return context
    if len(verify) > limits.MAX_PATH_LEN:
        raise kvs_error(StatusCode.INVALID_CERT_PATH_LENGTH, f"verify= of {len(verify)} characters")
    try:
        if os.path.isdir(verify):
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        raise kvs_error(
            StatusCode.INVALID_CA_CERT_PATH, f"verify={verify!r} is no CA bundle: {error}"
        ) from error
