"""What `verify` means to aiohttp: TLS 1.2 and up, hosts checked, the caller's roots."""

from __future__ import annotations

import os
import ssl

from kvsproducer.status import StatusCode, kvs_error

__all__ = ["tls_context"]


def tls_context(verify: bool | str) -> ssl.SSLContext | bool:
    """What aiohttp wants for boto3's `verify`: True, False, or a context for a CA bundle's path."""
    if isinstance(verify, bool):
        return verify
    try:
        if os.path.isdir(verify):
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        raise kvs_error(
            StatusCode.INVALID_CA_CERT_PATH, f"verify={verify!r} is no CA bundle: {error}"
        ) from error
