"""Get credentials from your own function or coroutine function.

    python examples/own_credentials.py clip.mp4 front-door

This example returns the keys of the environment, valid for an hour. A real program would ask a
vault, another service, or `boto3.client("sts").assume_role(...)["Credentials"]`.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

import kvsproducer as kvs
from kvsproducer import aio


class Broker:
    """Called before the first request, and again before the credentials expire."""

    def __init__(self) -> None:
        self.calls = 0

    def fetch(self) -> kvs.AwsCredentials:
        """Return credentials. It runs in its own thread, so it may be slow; errors are reported."""
        self.calls += 1
        print("request for credentials, number", self.calls)
        return kvs.AwsCredentials(
            os.environ["AWS_ACCESS_KEY_ID"],
            os.environ["AWS_SECRET_ACCESS_KEY"],
            os.environ.get("AWS_SESSION_TOKEN"),
            expiration=datetime.now(UTC) + timedelta(hours=1),
        )


async def fetch_from_sts() -> dict[str, object]:
    """Return credentials in the form of STS. It runs on the caller's event loop."""
    await asyncio.sleep(0)  # a real program sends an HTTP request here
    return {
        "AccessKeyId": os.environ["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": os.environ.get("AWS_SESSION_TOKEN"),
        "Expiration": datetime.now(UTC) + timedelta(hours=1),
    }


async def read_back(stream_name: str) -> int:
    fragments = aio.get_media(stream_name, credentials=fetch_from_sts)
    return sum([len(fragment.frames) async for fragment in fragments])


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, stream_name = sys.argv[1:]
    print(kvs.put_media(source, stream_name, retention="PT24H", credentials=Broker()))
    print("read back:", asyncio.run(read_back(stream_name)), "frames")


if __name__ == "__main__":
    main()
