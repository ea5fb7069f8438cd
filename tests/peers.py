"""Local servers whose behaviour a test chooses. Each connection has its own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from socket import SHUT_RDWR, SHUT_WR, create_connection, create_server, socket


class Server:
    """A server that counts connections and passes each to `talk`, until `end` is called."""

    def __init__(self, port: int = 0) -> None:
        self.ended = threading.Event()
        self.connections = 0
        self._server = create_server(("127.0.0.1", port))
        self.port = self._server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def talk(self, connection: socket) -> None:
        """Handle a connection."""
        raise NotImplementedError

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self.talk, args=(connection,)))
            self._threads[-1].start()

    def end(self) -> None:
        """Stop accepting connections, set `ended`, and wait for the running handlers."""
        self.ended.set()
        self._server.shutdown(SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)


class Forwarder(Server):
    """A proxy that forwards connections to the server at `url`, and counts them."""

    def __init__(self, url: str) -> None:
        host, _, port = url.rpartition("/")[2].rpartition(":")
        self._place = host, int(port)
        super().__init__()

    def talk(self, connection: socket) -> None:
        with connection, create_connection(self._place) as upstream:
            back = threading.Thread(target=pipe, args=(upstream, connection))
            back.start()
            pipe(connection, upstream)
            back.join()


def pipe(
    source: socket, sink: socket, note: Callable[[bytes], object] = lambda _data: None
) -> None:
    """Copy all data from one connection to the other, and then close its sending side."""
    try:
        while data := source.recv(65_536):
            note(data)
            sink.sendall(data)
        sink.shutdown(SHUT_WR)
    except OSError:
        for one in (source, sink):
            try:
                one.shutdown(SHUT_RDWR)
            except OSError:
                continue
