"""What every test may use: the local endpoint, an AWS configuration that is nobody's own, streams
and frames, and a video memory library compiled as a test needs it."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import kvsproducer as kvs

# The same generated examples in every run, however slow the machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# A job in the background of a shell is started with Ctrl-C ignored, and what it starts inherits
# that; tests that interrupt a program of ours mean one that may be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent / "docs" / "reference"
TICK = 400_000  # 25 frames a second
GOP = 5
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.fixture(autouse=True)
def _aws_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Dummy keys and a region; nothing of the machine's own AWS configuration counts."""
    folder = tmp_path_factory.getbasetemp() / "aws"
    for name in [*os.environ]:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """Whatever a test does, in the end no producer is open and nobody uses the shared loop.

    A call that was cut off may take a moment to let go of it. The tests that follow one that fails
    begin with nothing.
    """
    yield
    loop = sys.modules.get("kvsproducer.service.loop")
    if loop is None:  # a test of the core
        return
    from kvsproducer.service import lifetime

    shared = loop.SharedLoop
    deadline = time.monotonic() + 30
    while (shared._users or lifetime._open) and time.monotonic() < deadline:
        time.sleep(0.001)
    users, left = shared._users, list(lifetime._open)
    if users or left:
        shared._process = 0  # the next user begins anew
        lifetime._open.clear()
        pytest.fail(f"{users} users of the shared loop are left, and of producers {left}")


@pytest.fixture
def endpoint_url() -> Iterator[str]:
    """The address of a local endpoint of this test's own, in memory."""
    from kvsproducer.endpoint import local_endpoint

    with local_endpoint() as endpoint:
        yield endpoint.url


@pytest.fixture
def quick_url() -> Iterator[str]:
    """The same, for tests that read to the end: GetMedia waits 0.2 s for more, not three."""
    from tests.endpoints import QUICK

    from kvsproducer.endpoint import local_endpoint

    with local_endpoint(limits=QUICK) as endpoint:
        yield endpoint.url


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempts of a call follow each other within 10 ms and more, in this process."""
    monkeypatch.setattr("kvsproducer.client.backoff.BACKOFF_BASE", 100_000)


@pytest.fixture(scope="session", autouse=True)
def _botocore_reads_its_data_once() -> Iterator[None]:
    """Each of its sessions would read them anew, a tenth of a second for each producer here."""
    from botocore.loaders import JSONFileLoader

    read = functools.cache(functools.partial(JSONFileLoader.load_file, JSONFileLoader()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture(scope="session")
def _libraries() -> dict[tuple[str, ...], Path]:
    return {}


@pytest.fixture
def video_library(
    tmp_path_factory: pytest.TempPathFactory, _libraries: dict[tuple[str, ...], Path]
) -> Callable[..., str]:
    """`video_library("FAIL_ALLOC", "MAX=9")`: the path of the library, compiled so."""

    def compiled(*defines: str) -> str:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler (cc or gcc): the video memory library cannot be compiled")
        if defines not in _libraries:
            path = tmp_path_factory.mktemp("vram") / "libvram.so"
            command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", f"-I{HEADER}", "-o"]
            flags = [f"-D{define}" for define in defines]
            source = HERE / "heap" / "video_memory.c"
            subprocess.run([*command, path, *flags, source], check=True)
            _libraries[defines] = path
        return str(_libraries[defines])

    return compiled


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A peer that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def info() -> kvs.StreamInfo:
    """A real-time stream of opaque frames (no NAL adaptation), retention one hour."""
    return kvs.StreamInfo.video(
        "h264", retention="PT1H", frame_rate=25, nal_adaptation=kvs.NalAdaptation.NONE
    )


@pytest.fixture
def offline_info() -> kvs.StreamInfo:
    """The same, offline: `put_frame` waits instead of dropping."""
    return kvs.StreamInfo.video(
        "h264",
        streaming_type=kvs.StreamingType.OFFLINE,
        retention="PT1H",
        frame_rate=25,
        nal_adaptation=kvs.NalAdaptation.NONE,
    )


@pytest.fixture
def frames() -> Callable[[int], Iterator[kvs.Frame]]:
    """`frames(n)`: n frames with different content, a key frame every GOP."""

    def make(count: int) -> Iterator[kvs.Frame]:
        start = kvs.now()
        for number in range(count):
            yield kvs.Frame(
                b"frame %06d " % number * 20,
                start + number * TICK,
                duration=TICK,
                key_frame=number % GOP == 0,
            )

    return make
