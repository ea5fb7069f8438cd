"""An endpoint with scripted faults: no accepted frame is lost, every cause is logged."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

import kvsproducer as kvs
from kvsproducer.endpoint import Fault, local_endpoint

FRAMES = 60
PUT, DESCRIBE = "PutMedia", "DescribeStream"
BROKEN = ("Disconnected", "reset", "is incomplete", "Broken pipe")
GARBAGE = '{"EventType":"PERSISTED","FragmentTimecode":"many"}'


class Case(NamedTuple):
    """What goes wrong, and the words by which the log names it (any of them)."""

    name: str
    faults: tuple[Fault, ...]
    told: tuple[str, ...]


CASES = (
    Case("503 once", (Fault(on=PUT, do="status"),), ("HTTP 503 ServiceUnavailable",)),
    Case(
        "500 in a row",
        (Fault(on=PUT, do="status", status=500, error="InternalFailure", times=4),),
        ("HTTP 500 InternalFailure",),
    ),
    Case(
        "throttled",
        (Fault(on="*", do="status", status=400, error="ClientLimitExceededException", times=3),),
        ("ClientLimitExceededException",),
    ),
    Case(
        "403 at an upload",
        (Fault(on=PUT, do="status", status=403, error="ExpiredTokenException"),),
        ("HTTP 403 ExpiredTokenException",),
    ),
    Case("every call refused once", (Fault(on="*", do="status", times=2),), ("HTTP 503",)),
    Case(
        "reset at once",
        (Fault(on=PUT, do="reset", times=2),),
        BROKEN,
    ),
    Case(
        "reset in the middle",
        tuple(Fault(on=PUT, do="reset", after_bytes=n) for n in (1, 900, 20_000, 41_234)),
        BROKEN,
    ),
    Case(
        "a call reset",
        (Fault(on=DESCRIBE, do="reset", times=2),),
        BROKEN,
    ),
    Case(
        "half-closed",
        (Fault(on=PUT, do="half_close", after_bytes=25_000),),
        (*BROKEN, "ended the upload"),
    ),
    Case(
        "the answer ends",
        (Fault(on=PUT, do="end_answer", after_bytes=25_000, times=2),),
        ("ended the upload",),
    ),
    Case(
        "the answer ends before a word",
        (Fault(on=PUT, do="end_answer"),),
        ("its answer was empty",),
    ),
    Case(
        "stalled",
        (Fault(on=PUT, do="stall", after_bytes=10_000),),
        ("took no data", "did not answer"),
    ),
    Case("silent", (Fault(on=PUT, do="silence", after_bytes=5_000),), ("did not answer",)),
    Case("slow", (Fault(on=PUT, do="slow_read", bytes_per_s=200_000),), ()),
    Case(
        "garbage acks",
        (Fault(on=PUT, do="garbage", after_bytes=9_000, text=GARBAGE),),
        ("INVALID", "invalid", "ack"),
    ),
    Case("garbage for an answer", (Fault(on=DESCRIBE, do="garbage"),), ("HTTP", "Bad")),
    Case("100 Continue unasked", (Fault(on=PUT, do="continue"),), ()),
    Case("late", (Fault(on="*", do="delay", seconds=0.2, times=4),), ()),
    Case(
        "everything",
        (
            Fault(on=DESCRIBE, do="reset"),
            Fault(on="GetDataEndpoint", do="status"),
            Fault(on=PUT, do="status"),
            Fault(on=PUT, do="reset", after_bytes=7_000),
            Fault(on=PUT, do="end_answer", after_bytes=12_345),
            Fault(on=PUT, do="garbage", after_bytes=3_000, text=GARBAGE),
        ),
        ("HTTP 503",),
    ),
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextlib.contextmanager
def misbehaving(
    case: Case, secure: bool, authority: trustme.CA, folder: Path
) -> Iterator[tuple[Any, bool | str]]:
    """An endpoint with the case's faults, and what to trust."""
    context = None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    with local_endpoint(ssl_context=context, faults=case.faults) as endpoint:
        yield endpoint, str(folder / "ca.pem") if secure else True


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_lost(
    case: Case,
    secure: bool,
    authority: trustme.CA,
    kit: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The account is right, the endpoint has all frames unchanged, the log has the cause."""
    monkeypatch.setattr("kvsproducer.producer.upload.STALL_S", 1.0)
    caplog.set_level(logging.INFO, "kvsproducer")
    media = kit.Media(size=1000)
    with misbehaving(case, secure, authority, tmp_path) as (endpoint, verify):
        with kvs.Producer(endpoint_url=endpoint.url, verify=verify) as producer:
            stream = producer.open_stream("door", kit.info())
            for frame in media.frames(FRAMES):
                stream.put_frame(frame)
            account = stream.close(timeout=60)
            assert producer.close() == {"door": account}
        assert account == kvs.FrameAccount(FRAMES, FRAMES, 0, 0, 0)
        assert set(endpoint.faults.applied) == set(case.faults)
        if not secure:
            kit.assert_stored(endpoint.url, "door", media.put)
    told = [record.getMessage() for record in caplog.records if "endpoint" not in record.name]
    assert not case.told or any(word in line for word in case.told for line in told), told
