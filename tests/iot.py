"""A local credential endpoint of AWS IoT: a TLS server that checks device certificates.

By default it returns credentials that expire after an hour. Tests can set other responses.
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
    """Return a response of AWS IoT. `changes` replace members of `credentials`; None omits one."""
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
    """The endpoint. It runs in its own threads during a `with` block.

    `reply` returns status and body of each response. `requests` has the paths and headers of all
    requests. While `stalled` is set, no request gets a response.
    """

    def __init__(self, folder: Path, newest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        self.reply: Callable[[], tuple[int, bytes]] = lambda: (200, answer())
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stalled = threading.Event()
        self.flowing = threading.Event()  # set at the end, so that no handler keeps waiting
        authority, other_authority = trustme.CA(), trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self.certificate, self.private_key = device_files(folder, "device", authority)
        self.wrong_certificate, self.wrong_key = device_files(folder, "unknown", other_authority)
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
        """Return valid arguments for `IotCredentials`."""
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
        """Return the same settings as environment variables."""
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
    """Write PEM files of a device's certificate and key; return their paths."""
    issued = authority.issue_cert(f"{name}.invalid")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return certificate, key


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that close the connection or have an invalid certificate."""


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
