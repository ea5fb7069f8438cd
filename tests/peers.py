"""Peers on this machine that do with a connection what a test wants, each in a thread."""

from __future__ import annotations

import threading
from socket import SHUT_RDWR, create_server, socket


class Server:
    """Accepts connections, counts them and hands each to `talk`; runs until `end`."""

    def __init__(self, port: int = 0) -> None:
        self.ended = threading.Event()
        self.connections = 0
        self._server = create_server(("127.0.0.1", port))
        self.port = self._server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def talk(self, connection: socket) -> None:
        """What happens on a connection."""
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
        """Accept no more, and wait for what is said; `ended` tells it to stop."""
        self.ended.set()
        self._server.shutdown(SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)
