"""A minimal KVS server that accepts an upload, and measures when frames arrive.

Run it as a separate process: `python -m benchmarks.sink`. It prints its URL. For every frame with a
timestamp it then prints the microseconds from `put_frame` to the arrival of the frame's first byte
(both processes read the same monotonic clock). It ends when its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

MARK = b"SENT-AT:"
ANSWERS = {
    b"/describeStream": {"StreamInfo": {"StreamARN": "arn", "Status": "ACTIVE"}},
    b"/createStream": {"StreamARN": "arn"},
}


def stamp() -> bytes:
    """Return a marker with the present time, to put into a frame."""
    return MARK + time.monotonic_ns().to_bytes(8, "big")


class Sink(asyncio.Protocol):
    """One connection: answers control-plane calls, and measures the age of an upload's markers."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.uploading = False
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        if self.uploading:
            self.note_marks(data, time.monotonic_ns())
            return
        path = data.split(b" ", 2)[1]
        if path == b"/putMedia":
            self.uploading = True
            self.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.note_marks(data, time.monotonic_ns())  # the first frame may come with the head
            return
        answer = ANSWERS.get(path, {"DataEndpoint": self.own_url()})
        body = json.dumps(answer).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def note_marks(self, data: bytes, now: int) -> None:
        """Print the age of every timestamp; keep one that is cut off at the end of the data."""
        data = self.rest + data
        end = 0
        while (at := data.find(MARK, end)) >= 0 and len(data) >= at + 16:
            end = at + 16
            sent = int.from_bytes(data[at + 8 : end], "big")
            print(f"{(now - sent) / 1000:.1f}", flush=True)
        self.rest = data[end:][-16:] if at < 0 else data[at:]

    def own_url(self) -> str:
        host, port = self.transport.get_extra_info("sockname")[:2]
        return f"http://{host}:{port}"


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
