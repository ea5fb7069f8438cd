"""AWS IoT's credential endpoint on this machine: a TLS server that checks device certificates.

Tests answer by it what they like; by default credentials that live an hour.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

ACCESS_KEY = "ASIAIOTEXAMPLE"
SECRET_KEY = "iotsecretiotsecretiotsecretiotsecretiots"
SESSION_TOKEN = "iottokeniottoken"


def answer(life: timedelta = timedelta(hours=1), **changes: object) -> bytes:
    """What AWS IoT answers; `changes` of the members of `credentials`, None to leave one out."""
    members: dict[str, object] = {
        "accessKeyId": ACCESS_KEY,
        "secretAccessKey": SECRET_KEY,
        "sessionToken": SESSION_TOKEN,
        "expiration": (datetime.now(UTC) + life).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    members.update(changes)
    kept = {name: value for name, value in members.items() if value is not None}
    return json.dumps({"credentials": kept}).encode()


class IotEndpoint:
    """Runs in threads of its own from `with` to its end.

    `reply` gives status and body of each answer; `requests` are the paths and headers so far.
    While `stalled` is set, nothing is answered.
    """

    def __init__(self, folder: Path, newest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        self.reply: Callable[[], tuple[int, bytes]] = lambda: (200, answer())
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stalled = threading.Event()
        self.flowing = threading.Event()  # set at the end, so that no handler is left
        authority, stranger = trustme.CA(), trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self.certificate, self.private_key = device_files(folder, "device", authority)
        self.wrong_certificate, self.wrong_key = device_files(folder, "stranger", stranger)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = newest_tls
        context.verify_mode = ssl.CERT_REQUIRED
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        authority.configure_trust(context)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.host = f"127.0.0.1:{self._server.server_port}"

    def options(self, **changes: Any) -> dict[str, Any]:
        """The arguments of an `IotCredentials` that works."""
        return {
            "endpoint": self.host,
            "certificate": str(self.certificate),
            "private_key": str(self.private_key),
            "role_alias": "camera-role",
            "thing_name": "front-door-camera",
            "ca": str(self.ca),
            **changes,
        }

    def environment(self) -> dict[str, str]:
        """The same as environment variables."""
        return {
            "AWS_KVS_CACERT_PATH": str(self.ca),
            "AWS_IOT_CORE_CREDENTIAL_ENDPOINT": self.host,
            "AWS_IOT_CORE_CERT": str(self.certificate),
            "AWS_IOT_CORE_PRIVATE_KEY": str(self.private_key),
            "AWS_IOT_CORE_ROLE_ALIAS": "camera-role",
            "AWS_IOT_CORE_THING_NAME": "front-door-camera",
        }

    def __enter__(self) -> IotEndpoint:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.flowing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def device_files(folder: Path, name: str, authority: trustme.CA) -> tuple[Path, Path]:
    """PEM files of a device's certificate and key."""
    issued = authority.issue_cert(f"{name}.invalid")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return certificate, key


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or whose certificate is not accepted, is what tests are about."""


def _handler(endpoint: IotEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            endpoint.requests.append((self.path, headers))
            if endpoint.stalled.is_set():
                endpoint.flowing.wait(60)
            status, body = endpoint.reply()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
