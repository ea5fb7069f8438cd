"""Fixtures of all tests: local endpoints, AWS settings, streams, frames, video memory libraries."""

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

# Generate the same examples in every run, also on a slow machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# A shell starts a background job with SIGINT ignored, and the job's child processes inherit that.
# Tests interrupt child processes by SIGINT, so it must not be ignored.
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
    """Set dummy keys and a region, and hide the AWS configuration of this machine."""
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
    """Check that each test closes its producers and releases the shared event loop.

    A cancelled call may need a moment to release it. After a failure, the state is reset, so that
    the next test does not fail too.
    """
    yield
    loop = sys.modules.get("kvsproducer.service.loop")
    if loop is None:  # the test used the core only
        return
    from kvsproducer.service import lifetime

    shared = loop.SharedLoop
    deadline = time.monotonic() + 30
    while (shared._users or lifetime._open) and time.monotonic() < deadline:
        time.sleep(0.001)
    users, left = shared._users, list(lifetime._open)
    if users or left:
        shared._process = 0  # the next user starts a new loop
        lifetime._open.clear()
        pytest.fail(f"{users} users of the shared loop are left, and these producers: {left}")


@pytest.fixture
def endpoint_url() -> Iterator[str]:
    """Start a local endpoint in memory for one test; yield its URL."""
    from kvsproducer.endpoint import local_endpoint

    with local_endpoint() as endpoint:
        yield endpoint.url


@pytest.fixture
def quick_url() -> Iterator[str]:
    """Start a local endpoint whose GetMedia waits 0.2 s for more media, instead of 3 s."""
    from tests.endpoints import QUICK

    from kvsproducer.endpoint import local_endpoint

    with local_endpoint(limits=QUICK) as endpoint:
        yield endpoint.url


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between the attempts of a call to about 10 ms, in this process."""
    monkeypatch.setattr("kvsproducer.client.backoff.BACKOFF_BASE", 100_000)


@pytest.fixture(scope="session", autouse=True)
def _botocore_reads_its_data_once() -> Iterator[None]:
    """Cache botocore's data files: each session would read them again, which takes 0.1 s."""
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
    """Return a function that compiles the library: `video_library("FAIL_ALLOC", "MAX=9")`."""

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
    """Start a server that accepts connections and never responds; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def info() -> kvs.StreamInfo:
    """Describe a real-time stream without NAL adaptation, with a retention of one hour."""
    return kvs.StreamInfo.video(
        "h264", retention="PT1H", frame_rate=25, nal_adaptation=kvs.NalAdaptation.NONE
    )


@pytest.fixture
def offline_info() -> kvs.StreamInfo:
    """Describe an offline stream, in which `put_frame` waits instead of dropping frames."""
    return kvs.StreamInfo.video(
        "h264",
        streaming_type=kvs.StreamingType.OFFLINE,
        retention="PT1H",
        frame_rate=25,
        nal_adaptation=kvs.NalAdaptation.NONE,
    )


@pytest.fixture
def frames() -> Callable[[int], Iterator[kvs.Frame]]:
    """Return `frames(n)`: it yields n different frames, with a key frame every GOP frames."""

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
