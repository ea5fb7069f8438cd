"""Provocations for the statuses of conversions, directories, files and the bit reader."""

from __future__ import annotations

import os
from pathlib import Path

from tests.status_codes.place import Place, Provocation, Table

from kvsproducer import (
    ClientInfo,
    DeviceInfo,
    FileLogHandler,
    Producer,
    StatusCode,
    StorageInfo,
    StreamInfo,
)
from kvsproducer.codecs import h264
from kvsproducer.endpoint import local_endpoint
from kvsproducer.heap import HybridFileStore
from kvsproducer.utils import check_directory, format_int, parse_int

_S = StatusCode
MIB = 1 << 20


def private_data(text: str) -> Provocation:
    """Read codec private data as text from a configuration file."""
    track = {"track_id": 1, "track_type": "video", "codec_id": "V", "codec_private_data": text}
    return lambda _: StreamInfo.from_dict({"tracks": [track]}) and None


def send_ack(number: str) -> Provocation:
    """Answer an upload with an ack that contains this number."""

    def provoke(place: Place) -> object:
        d = place.desk()
        d.put(0)
        d.read()
        text = f'{{"EventType":"PERSISTED","FragmentTimecode":{number}}}'
        d.stream.receive_ack(0, text.encode(), d.now)
        d.settle()
        return d.events

    return provoke


def spilling_store(root: Path) -> tuple[HybridFileStore, Path]:
    """Return a store with one payload in a file, and that file."""
    store = HybridFileStore(4 * MIB, 25, str(root))
    assert store.keep([b"m" * (MIB - 100)], MIB - 100)
    assert store.keep([b"x" * 1000], 1000)
    (file,) = Path(store.files.directory).iterdir()
    return store, file


def device_with_root(root: Path) -> None:
    storage = StorageInfo(1, 4 * MIB, 25, str(root))
    Producer(region_name="us-west-2", device_info=DeviceInfo(storage_info=storage))


def root_is_a_file(place: Place) -> None:
    file = place.folder / "file"
    file.touch()
    device_with_root(file)


def root_of_another_user(place: Place) -> None:
    with place.read_only(place.folder):
        device_with_root(place.folder)


def root_on_a_disk_that_is_not_mounted(place: Place) -> None:
    link = place.folder / "spill"
    link.symlink_to(place.folder / "disk")
    device_with_root(link)


def pipe_in_the_stores_directory(place: Place) -> None:
    store, file = spilling_store(place.folder)
    os.mkfifo(file.parent / "pipe")
    store.close()


def foreign_file_in_the_stores_directory(place: Place) -> None:
    store, file = spilling_store(place.folder)
    (file.parent / "notes.txt").touch()
    store.close()


def file_that_cannot_be_removed(place: Place) -> None:
    with place.public_folder() as root:
        store, file = spilling_store(root)
        with place.read_only(file.parent):
            store.close()


def link_that_cannot_be_removed(place: Place) -> None:
    """Another program replaced a payload by a link, and made the directory read-only."""
    with place.public_folder() as root:
        store, file = spilling_store(root)
        file.symlink_to(file.rename(root / "moved"))
        with place.read_only(file.parent):
            store.close()


def data_folder_of_a_long_name(place: Place) -> None:
    with local_endpoint(place.folder / ("x" * 4096)):
        pass


TABLE: Table = {
    _S.INVALID_BASE64_ENCODE: private_data("base64:A==="),
    _S.INVALID_BASE: lambda _: format_int(255, 37),
    _S.INVALID_DIGIT: send_ack("12.5"),
    _S.INT_OVERFLOW: send_ack("18446744073709551616"),
    _S.EMPTY_STRING: lambda _: parse_int("+"),
    _S.DIRECTORY_OPEN_FAILED: root_is_a_file,
    _S.PATH_TOO_LONG: data_folder_of_a_long_name,
    _S.UNKNOWN_DIR_ENTRY_TYPE: pipe_in_the_stores_directory,
    _S.REMOVE_DIRECTORY_FAILED: foreign_file_in_the_stores_directory,
    _S.REMOVE_FILE_FAILED: file_that_cannot_be_removed,
    _S.REMOVE_LINK_FAILED: link_that_cannot_be_removed,
    _S.DIRECTORY_ACCESS_DENIED: root_of_another_user,
    _S.DIRECTORY_MISSING_PATH: lambda place: check_directory(place.folder / "nothing"),
    _S.DIRECTORY_ENTRY_STAT_ERROR: root_on_a_disk_that_is_not_mounted,
    # Not in the Error Code Reference, only in the headers of AWS's SDKs.
    _S.STRFTIME_FALIED: lambda place: FileLogHandler(place.folder, time_format="") and None,
    _S.MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED: lambda place: (
        FileLogHandler(place.folder, time_format="%Y-%m-%d %H:%M:%S" * 2) and None
    ),
    _S.INVALID_TIMER_PERIOD_VALUE: lambda _: DeviceInfo(
        client_info=ClientInfo(reserved_callback_period=0.0005)
    ).validate(),
    _S.BIT_READER_OUT_OF_RANGE: lambda _: h264.parse_sps(b"\x67\x42"),
    _S.BIT_READER_INVALID_SIZE: lambda _: h264.parse_sps(b"\x67\x42\x00\x1e" + bytes(12)),
}
