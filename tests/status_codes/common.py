"""Provocations for the common statuses: arguments, memory, files, timeouts."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from tests.status_codes.place import Place, Provocation, Table

from kvsproducer import DeviceInfo, Producer, StatusCode, StorageInfo, StreamInfo
from kvsproducer.heap import Arena, ArenaStore, HybridFileStore

_S = StatusCode
MIB = 1 << 20
NO_SERVER = "http://127.0.0.1:9"  # a port without a server
MP4_WITHOUT_INDEX = b"\0\0\0\x14ftypisom\0\0\0\0isom" + b"\0\0\x10\0mdat" + bytes(500)
MORE_THAN_THERE_IS = 1 << 47  # bytes of a stack: the whole address space


def store(storage_type: int, size: int, root: str = "") -> Provocation:
    """Make a producer with this content store."""
    info = DeviceInfo(storage_info=StorageInfo(storage_type, size, 25, root))
    return lambda _: Producer(region_name="us-west-2", device_info=info) and None


def put(name: str, content: bytes | None = None) -> Provocation:
    """Run `kvs put` with a file of this content, or with a file that does not exist."""

    def provoke(place: Place) -> object:
        file = place.folder / name
        if content is not None:
            file.write_bytes(content)
        return place.kvs("put", str(file), "door", "--endpoint-url", place.endpoint_url())

    return provoke


def memory_refused(place: Place) -> None:
    with place.memory_limit(2 << 30):
        store(2, 8 << 30)(place)


def payload_larger_than_its_block(_: Place) -> None:
    ArenaStore(MIB).keep([b"12345"], 4)


def block_that_was_freed(_: Place) -> None:
    arena = Arena(MIB)
    handle = arena.allocate(100)
    assert handle is not None
    arena.free(handle)
    arena.read(handle)


def spilled(place: Place) -> tuple[HybridFileStore, Path]:
    """Return a store whose memory part is full, and its directory."""
    made = HybridFileStore(4 * MIB, 25, str(place.folder))
    assert made.keep([b"m" * (MIB - 100)], MIB - 100)
    return made, Path(made.files.directory)


def file_that_is_gone(place: Place) -> None:
    made, directory = spilled(place)
    payload = made.keep([b"x" * 1000], 1000)
    assert payload is not None
    (directory / "1.hfh").unlink()
    list(payload)


def directory_that_is_gone(place: Place) -> None:
    made, directory = spilled(place)
    os.rmdir(directory)
    made.keep([b"x" * 1000], 1000)


def port_in_use(place: Place) -> object:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        return place.kvs("serve", "--port", str(taken.getsockname()[1]))


def service_that_does_not_answer(_: Place) -> None:
    producer = Producer(region_name="us-west-2", endpoint_url=NO_SERVER)
    try:
        producer.open_stream("door", StreamInfo.video("h264")).wait_ready(0)
    finally:
        producer.close(0)


def thread_stack_too_large(_: Place) -> None:
    usual = threading.stack_size(MORE_THAN_THERE_IS)
    try:
        Producer(region_name="us-west-2", endpoint_url=NO_SERVER)
    finally:
        threading.stack_size(usual)


TABLE: Table = {
    _S.NULL_ARG: lambda _: DeviceInfo.from_dict({"storage_info": None}) and None,
    _S.INVALID_ARG: lambda _: Producer(region_name="us-west-2", profile_name="missing") and None,
    _S.INVALID_ARG_LEN: store(1, 4 * MIB),
    _S.NOT_ENOUGH_MEMORY: memory_refused,
    _S.BUFFER_TOO_SMALL: payload_larger_than_its_block,
    _S.UNEXPECTED_EOF: put("cut.mp4", MP4_WITHOUT_INDEX),
    _S.FORMAT_ERROR: put("notes.mp4", b"not media at all\n" * 40),
    _S.INVALID_HANDLE_ERROR: block_that_was_freed,
    _S.OPEN_FILE_FAILED: put("missing.mp4"),
    _S.READ_FILE_FAILED: file_that_is_gone,
    _S.WRITE_TO_FILE_FAILED: directory_that_is_gone,
    _S.INVALID_OPERATION: port_in_use,
    _S.NOT_IMPLEMENTED: lambda place: place.kvs("put", "rtsp://camera/1", "door"),
    _S.OPERATION_TIMED_OUT: service_that_does_not_answer,
    _S.NOT_FOUND: lambda place: place.kvs("explain", "INVALID_STREAM_STAT"),
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    _S.CREATE_THREAD_FAILED: thread_stack_too_large,
}
