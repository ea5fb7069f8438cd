"""The package works on a system without POSIX's modules and flags, such as Windows.

The test removes these names from a Linux process after asyncio was imported. That is not Windows,
but it finds code that needs one of the names.
"""

from __future__ import annotations

import subprocess
import sys

WITHOUT_POSIX = """
import asyncio, mmap, os, signal, sys

for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
POSIX = {
    os: ("register_at_fork", "fork", "pwritev", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW"),
    mmap: ("MAP_PRIVATE", "MAP_ANONYMOUS", "MAP_POPULATE"),
    signal: ("SIGKILL", "SIGHUP"),
}
for module, names in POSIX.items():
    for name in names:
        delattr(module, name)
"""

STORED = """
import kvsproducer as kvs
from kvsproducer.endpoint import local_endpoint

with local_endpoint() as endpoint:
    for name in ("IN_MEM", "ARENA"):
        storage = kvs.StorageInfo(kvs.StorageType[name], storage_size=16 << 20)
        device = kvs.DeviceInfo(storage_info=storage)
        with kvs.Producer(endpoint_url=endpoint.url, device_info=device) as producer:
            put = kvs.put_media(
                "testsrc:duration=2,size=64x64", name, producer=producer,
                streaming_type=kvs.StreamingType.OFFLINE, retention="PT1H",
            )
        print(put.stream, put.frames)
"""

REFUSED = """
import tempfile

import kvsproducer as kvs
from kvsproducer.endpoint import local_endpoint

storage = kvs.StorageInfo(
    kvs.StorageType.HYBRID_FILE, spill_ratio=50, root_directory=tempfile.gettempdir()
)
try:
    kvs.Producer(device_info=kvs.DeviceInfo(storage_info=storage))
except kvs.KvsError as error:
    print(error.name, error.detail)
try:
    with local_endpoint(tempfile.gettempdir()):
        pass
except OSError as error:
    print(error.strerror)
"""


def run(program: str) -> list[str]:
    command = [sys.executable, "-c", WITHOUT_POSIX + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_media_are_stored() -> None:
    """A producer stores media in an endpoint, with both content stores in memory."""
    assert run(STORED) == ["IN_MEM 50", "ARENA 50"]


def test_file_stores_raise_without_locks() -> None:
    assert run(REFUSED) == [
        "STATUS_NOT_IMPLEMENTED payloads in files need POSIX file locks, which this system lacks; "
        "keep them in memory",
        "a data folder needs POSIX file locks, which this system lacks",
    ]
