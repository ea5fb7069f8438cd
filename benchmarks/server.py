"""The local endpoint as a separate process: `python -m benchmarks.server FOLDER [CERT KEY]`.

It prints its URL and ends when its standard input closes.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

from kvsproducer.endpoint import LocalEndpoint


async def serve(folder: str, certificate: list[str]) -> None:
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
    async with LocalEndpoint(data_dir=Path(folder), ssl_context=context) as endpoint:
        print(endpoint.url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2:]))
