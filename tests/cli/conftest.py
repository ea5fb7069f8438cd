"""The commands, in this process and in processes of their own, against a real local endpoint."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from tests.endpoints import QUICK
from tests.program import KVS
from typer.testing import CliRunner

from kvsproducer.cli.app import app
from kvsproducer.endpoint import LocalEndpoint, local_endpoint
from kvsproducer.mkv import FrameFlags, MkvGenerator, TrackInfo, TrackType
from kvsproducer.sources.pyav import write_clip
from kvsproducer.sources.spec import PatternSpec


@dataclass(frozen=True)
class Ran:
    """The result of a command; `text` joins lines, so that wrapping does not matter."""

    exit_code: int
    stdout: str
    stderr: str
    stdout_bytes: bytes

    @property
    def text(self) -> str:
        return " ".join(self.stderr.split())


Kvs = Callable[..., Ran]


@pytest.fixture(scope="session")
def endpoint() -> Iterator[LocalEndpoint]:
    """One for all, whose GetMedia ends soon."""
    with local_endpoint(limits=QUICK) as running:
        yield running


@pytest.fixture
def environment(endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set the environment of a shell without this machine's AWS configuration."""
    values = {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def kvs(environment: dict[str, str]) -> Kvs:
    """`kvs("put", "clip.mp4", "stream")` in this process."""

    def run(*arguments: str, stdin: bytes | None = None) -> Ran:
        result = CliRunner().invoke(app, [*arguments], input=stdin, prog_name="kvs")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr, result.stdout_bytes)

    return run


@pytest.fixture
def start_kvs(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`start_kvs("serve")` as a process of its own; ended with the test if it still runs."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        process = subprocess.Popen([*KVS, *arguments], **{**streams, **options})
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s of H.264 with B-frames and AAC in an MP4."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    pattern = PatternSpec(Fraction(3), Fraction(25), 160, 120, bframes=2, gop=25, audio="aac")
    write_clip(str(path), pattern)
    return path


MS = 10_000
CLUSTER = bytes.fromhex("1f43b675")
VIDEO = TrackInfo(1, TrackType.VIDEO, "V_MPEG4/ISO/AVC", width=64, height=64)
AUDIO = TrackInfo(2, TrackType.AUDIO, "A_AAC")


def mkv(
    frames: list[tuple[int, bool, int]],
    tracks: tuple[TrackInfo, ...] = (VIDEO,),
    metadata: bytes = b"",
) -> bytes:
    """Frames as (track id, key, ms), packed as a producer does; `metadata` before cluster one."""
    generator = MkvGenerator(
        tracks, content_type="video/h264", key_frame_fragmentation=True,
        fragment_duration=20_000 * MS, absolute_timecodes=True,
    )  # fmt: skip
    out = b""
    for track, key, time in frames:
        flags = int(FrameFlags.KEY) if key else 0
        packed = generator.pack(track, flags, time * MS, time * MS, 40 * MS, 4)
        header, cut = packed.header, packed.prefix_length
        out += header[:cut] + (metadata if cut else b"") + header[cut:] + b"data"
    return out
