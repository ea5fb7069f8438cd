"""Uploads with slow disks, broken clients, and clients that continue after an error."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from kvsproducer.endpoint import EndpointLimits, LocalEndpoint, local_endpoint, upload
from kvsproducer.endpoint.index import Index
from kvsproducer.endpoint.payloads import MemoryPayloads
from kvsproducer.endpoint.store import Store

Make = Callable[..., Any]
SECOND = 10_000_000


class SlowDisk(MemoryPayloads):
    """A disk that blocks until `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def sync(self) -> None:
        assert self.go.wait(30)


def test_slow_disk_slows_the_producer_down(
    put_media: Make, media: Any, aws: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, the pause is not idle time, and at the end everything is stored."""
    monkeypatch.setattr(upload, "MAX_PENDING_BYTES", 1_000_000)
    disk = SlowDisk()
    store = Store(Index(None), disk)
    bounds = EndpointLimits(idle_timeout=1, idle_ack_interval=0.25)
    with local_endpoint(store=store, limits=bounds) as endpoint:
        disk.go.set()
        aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
        disk.go.clear()
        connection = put_media(endpoint, "door")
        sent = threading.Event()

        def send() -> None:
            connection.send(media.header())
            for n in range(1, 101):
                connection.send(media.cluster(1000 * n, [media.block(0, bytes(300_000))]))
            connection.end()
            sent.set()

        sender = threading.Thread(target=send)
        sender.start()
        assert not sent.wait(1.5), "30 MB were taken although nothing could be stored"
        assert store.pending_bytes < 3_000_000
        disk.go.set()
        connection.head()
        kinds = [ack["EventType"] for ack in connection.acks()]
        sender.join(20)
        assert kinds.count("PERSISTED") == 100
        assert "ERROR" not in kinds


def test_client_that_continues_after_an_error_gets_the_error(
    endpoint: LocalEndpoint, put_media: Make, media: Any, aws: Make
) -> None:
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    connection = put_media(endpoint, "door")

    def send() -> None:
        connection.send(media.header() + media.cluster(2000) + media.cluster(1000))
        for _ in range(300):
            connection.send(media.block(0, bytes(100_000)))
        connection.end()

    sender = threading.Thread(target=send)
    sender.start()
    connection.head()
    acks = connection.acks()
    sender.join(20)
    assert acks[-1]["ErrorId"] == 4004
    assert [ack["EventType"] for ack in acks].count("PERSISTED") == 1


@pytest.mark.parametrize("rest", [b"no size\r\n", b"f" * 20 + b"\r\n", b"5\r\nabcdefgh"])
def test_broken_chunks_lose_only_the_open_fragment(
    put_media: Make, media: Any, aws: Make, rest: bytes
) -> None:
    """aiohttp does not report them, so the request ends by its idle timeout."""
    bounds = EndpointLimits(idle_timeout=0.5, idle_ack_interval=1)
    with local_endpoint(limits=bounds) as endpoint:
        aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
        connection = put_media(endpoint, "door")
        connection.send(media.header() + media.cluster(1000) + media.cluster(2000))
        connection.head()
        while connection.ack()["EventType"] != "PERSISTED":
            pass
        connection.socket.sendall(rest)
        assert connection.acks() == []
        archive = aws(endpoint, "kinesis-video-archived-media")
        found = archive.list_fragments(StreamName="door")["Fragments"]
        assert [item["ProducerTimestamp"].timestamp() for item in found] == [1]


def test_hundred_vanished_clients_leave_nothing_behind(
    endpoint: LocalEndpoint, put_media: Make, media: Any, aws: Make
) -> None:
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    before = threading.active_count()
    for n in range(100):
        connection = put_media(endpoint, "door")
        connection.send((media.header() + media.cluster(1000 * n))[: 20 * n])
        connection.close()
    last = put_media(endpoint, "door")
    last.send(media.header() + media.cluster(1000))
    last.end()
    last.head()
    assert last.acks()[-1]["EventType"] == "PERSISTED"
    assert threading.active_count() <= before + 40  # the thread pool of the JSON operations


def test_tiny_fragments_of_one_client_do_not_delay_another(
    endpoint: LocalEndpoint, put_media: Make, media: Any, aws: Make
) -> None:
    """This client does not read its acks either. The endpoint buffers only a part of its data."""
    control = aws(endpoint, "kinesisvideo")
    for name in ("evil", "good"):
        control.create_stream(StreamName=name, DataRetentionInHours=1)
    evil = put_media(endpoint, "evil")
    evil.send(media.header())
    evil.socket.settimeout(1)
    count, most = 0, 4_000_000  # 76 MB: more than the buffers of any kernel hold
    with contextlib.suppress(TimeoutError):
        while count < most:
            evil.send(
                b"".join(
                    b"\x1f\x43\xb6\x75\x8e\xe7\x86%b\xa3\x84\x81\0\0\x80" % n.to_bytes(6, "big")
                    for n in range(count, count + 2000)
                )
            )
            count += 2000
    assert 0 < count < most, "the endpoint took them all, and had to hold their acks"
    started = time.monotonic()
    good = put_media(endpoint, "good")
    good.send(media.header() + media.cluster(1000))
    good.end()
    good.head()
    assert [ack["EventType"] for ack in good.acks()] == ["BUFFERING", "RECEIVED", "PERSISTED"]
    assert time.monotonic() - started < 3


def test_exceeding_an_enforced_quota_slows_reading_down(
    put_media: Make, media: Any, aws: Make
) -> None:
    """AWS does the same. The pause is not idle time, and nothing is refused."""
    bounds = EndpointLimits(fragments_per_s=20, idle_timeout=0.5, idle_ack_interval=0.25)
    with local_endpoint(limits=bounds) as endpoint:
        aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
        started = time.monotonic()
        connection = put_media(endpoint, "door")
        connection.send(media.header())
        for n in range(1, 61):
            connection.send(media.cluster(1000 * n))
        connection.end()
        connection.head()
        kinds = [ack["EventType"] for ack in connection.acks()]
        assert kinds.count("PERSISTED") == 60
        assert set(kinds) == {"BUFFERING", "RECEIVED", "PERSISTED"}
        assert time.monotonic() - started > 0.9


def test_exceeding_the_quota_is_logged_once(
    endpoint: LocalEndpoint, put_media: Make, media: Any, aws: Make, caplog: Any
) -> None:
    aws(endpoint, "kinesisvideo").create_stream(StreamName="door", DataRetentionInHours=1)
    for count in (40, 200):
        connection = put_media(endpoint, "door")
        connection.send(media.header())
        for n in range(1, count + 1):
            connection.send(media.cluster(1000 * n))
        connection.end()
        connection.head()
        connection.acks()
        assert caplog.text.count("more than 5 fragments a second") == (count == 200)
