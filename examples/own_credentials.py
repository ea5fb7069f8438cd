"""Credentials from a place of your own: a function or a coroutine function that returns them.

    python examples/own_credentials.py clip.mp4 front-door

The broker here is a stand-in that hands out this shell's keys for an hour. A real one is a vault,
`boto3.client("sts").assume_role(...)["Credentials"]`, or a service of yours.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

import kvsproducer as kvs
from kvsproducer import aio


class Broker:
    """Asked at first, and again 38 seconds before what it gave expires."""

    def __init__(self) -> None:
        self.asked = 0

    def fetch(self) -> kvs.AwsCredentials:
        """Runs in a thread of its own and may take its time; what it raises is reported."""
        self.asked += 1
        print("asked for credentials, time", self.asked)
        return kvs.AwsCredentials(
            os.environ["AWS_ACCESS_KEY_ID"],
            os.environ["AWS_SECRET_ACCESS_KEY"],
            os.environ.get("AWS_SESSION_TOKEN"),
            expiration=datetime.now(UTC) + timedelta(hours=1),
        )


async def answer_of_sts() -> dict[str, object]:
    """The same as a coroutine: it runs on the caller's loop. STS's own form is understood."""
    await asyncio.sleep(0)  # an HTTP request, say
    return {
        "AccessKeyId": os.environ["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": os.environ["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": os.environ.get("AWS_SESSION_TOKEN"),
        "Expiration": datetime.now(UTC) + timedelta(hours=1),
    }


async def read_back(stream_name: str) -> int:
    fragments = aio.get_media(stream_name, credentials=answer_of_sts)
    return sum([len(fragment.frames) async for fragment in fragments])


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, stream_name = sys.argv[1:]
    print(kvs.put_media(source, stream_name, retention="PT24H", credentials=Broker()))
    print("read back:", asyncio.run(read_back(stream_name)), "frames")


if __name__ == "__main__":
    main()
