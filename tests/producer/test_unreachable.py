"""A stream that does not reach its service warns once, also without a listener or log."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Iterator

import pytest
from tests.waiting import until

import kvsproducer as kvs
from kvsproducer import StatusCode
from kvsproducer import client as core
from kvsproducer.endpoint import Fault, local_endpoint
from kvsproducer.producer.unreachable import ReachWarnings

Frames = Callable[[int], Iterator[kvs.Frame]]
WHERE = "http://127.0.0.1:9"


def failed(status: StatusCode, stream: str = "door", *, fatal: bool = False) -> core.Event:
    return core.StreamErrorReported(stream, None, None, status, "refused", fatal)


def test_the_first_failed_round_is_a_warning() -> None:
    """It has endpoint, cause and remedy; later rounds and single failures do not warn."""
    look = ReachWarnings(WHERE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        look.check(failed(StatusCode.SERVICE_CALL_UNKOWN_ERROR))
        look.check(core.StreamReady("door"))
        assert not caught
        for _ in range(2):
            look.check(failed(StatusCode.DESCRIBE_STREAM_CALL_FAILED))
    (warning,) = caught
    text = str(warning.message)
    assert warning.category is RuntimeWarning
    assert text.startswith(f"stream 'door' does not reach the service at {WHERE}, and holds its")
    assert "DESCRIBE_STREAM_CALL_FAILED (0x52000011): refused -> Check network" in text


def test_streams_and_the_client_are_warned_about_one_by_one() -> None:
    """A stream that is opened again warns again."""
    look = ReachWarnings(WHERE)
    auth = core.ClientErrorReported(None, StatusCode.CLIENT_AUTH_CALL_FAILED, "none", False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        look.check(failed(StatusCode.PUT_STREAM_CALL_FAILED))
        look.check(failed(StatusCode.PUT_STREAM_CALL_FAILED, "gate", fatal=True))
        look.check(auth)
        look.forget("door")
        look.check(failed(StatusCode.PUT_STREAM_CALL_FAILED))
    begins = [str(one.message).partition(" at ")[0] for one in caught]
    assert begins[0] == begins[3] == "stream 'door' does not reach the service"
    assert begins[1:3] == [
        "stream 'gate' does not reach the service",
        "the producer does not reach the service",
    ]
    assert "and has failed" in str(caught[1].message)


def test_warning_as_an_error_does_not_affect_the_stream() -> None:
    look = ReachWarnings(WHERE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look.check(failed(StatusCode.PUT_STREAM_CALL_FAILED))


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("kind", ["refused", "dns", "tls", "forbidden"])
def test_a_live_stream_warns_and_its_block_ends_in_time(
    kind: str, info: kvs.StreamInfo, frames: Frames
) -> None:
    """This holds for all causes."""
    with (
        local_endpoint(
            faults=[Fault(on="*", do="status", status=403, error="AccessDenied", times=None)]
        ) as endpoint,
        socket.create_server(("127.0.0.1", 0)) as closed,
    ):
        port = closed.getsockname()[1]
        if kind == "refused":
            closed.close()
        url = {
            "refused": f"http://127.0.0.1:{port}",
            "dns": "https://no-such-host.invalid",
            "tls": endpoint.url.replace("http:", "https:"),
            "forbidden": endpoint.url,
        }[kind]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            began = time.monotonic()
            with pytest.raises(kvs.KvsError):
                with kvs.Producer(endpoint_url=url, close_timeout=0.2) as producer:
                    with producer.open_stream("door", info) as stream:
                        for frame in frames(10):
                            stream.put_frame(frame)
                        until(lambda: any("does not reach" in str(one.message) for one in caught))
                        began = time.monotonic()
            assert time.monotonic() - began < 20
        assert sum("stream 'door' does not reach" in str(one.message) for one in caught) == 1
