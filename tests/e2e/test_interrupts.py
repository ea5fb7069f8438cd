"""Ctrl-C at a random moment of an offline bulk put: every frame that was accepted is stored.

Programs are processes of their own, and so is the endpoint. The delays come from seeds, which fail
with their number; what a signal meets after the same delay differs from run to run.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from kvsproducer.cli.console import EXIT_HUNG_UP, EXIT_INTERRUPTED, EXIT_TERMINATED
from kvsproducer.sources.pyav import write_clip
from kvsproducer.sources.spec import PatternSpec

PROGRAM = """
import sys
import kvsproducer as kvs

device = kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20))
info = kvs.StreamInfo.video(
    "h264", retention="PT1H", streaming_type=kvs.StreamingType.OFFLINE,
    nal_adaptation=kvs.NalAdaptation.NONE,
)
producer = kvs.Producer(endpoint_url=sys.argv[1], device_info=device)
stream = producer.open_stream(sys.argv[2], info)
stream.wait_ready()
seen = 0
print("putting", flush=True)
try:
    while True:
        pts = 17_000_000_000_000_000 + seen * 100_000
        stream.put_frame(kvs.Frame(b"frame %08d" % seen * 9, pts, key_frame=seen % 50 == 0))
        seen += 1
except KeyboardInterrupt:
    account = stream.close(60)
    print(seen, *account)
producer.close()
"""
FEW = range(3)
SOAK = [pytest.mark.soak, pytest.mark.timeout(600)]
MANY = [pytest.param(range(100 * part, 100 * part + 10), marks=SOAK) for part in range(1, 7)]


def stored(kit: Any, url: str, name: str) -> list[bytes]:
    """The payloads that the service has, in the order of their times."""
    found = kit.stored_fragments(url, name)
    return [data for at in sorted(found) for _, data in found[at]]


@pytest.mark.parametrize("seeds", [FEW, *MANY])
def test_interrupted_bulk_put_stores_what_was_accepted(
    seeds: range, serve: Callable[..., Any], kit: Any
) -> None:
    """Each put that returned, and at most the one more that was interrupted; none twice."""
    url = serve().url
    for seed in seeds:
        name = f"door-{seed}"
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, url, name], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "putting\n"
            time.sleep(random.Random(seed).uniform(0, 0.3))
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=90)
        assert process.returncode == 0, seed
        seen, accepted, persisted, dropped, skipped, held = map(int, told.split())
        assert accepted - seen in (0, 1), seed
        assert (persisted, dropped, skipped, held) == (accepted, 0, 0, 0), seed
        wanted = [b"frame %08d" % number * 9 for number in range(accepted)]
        assert stored(kit, url, name) == wanted, seed


SIGNALS = {
    signal.SIGINT: EXIT_INTERRUPTED,
    signal.SIGTERM: EXIT_TERMINATED,
    signal.SIGHUP: EXIT_HUNG_UP,
}


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12,000 small pictures."""
    path = tmp_path_factory.mktemp("clip") / "long.mkv"
    write_clip(str(path), PatternSpec(Fraction(240), Fraction(50), width=64, height=48, gop=25))
    return path


@pytest.mark.parametrize("seeds", [FEW, *MANY])
def test_interrupted_kvs_put_stores_what_was_put(
    seeds: range, serve: Callable[..., Any], kit: Any, long_clip: Path
) -> None:
    """It says how many frames that are, and exits as the signal asks, unless it was done before."""
    url = serve().url
    archive = kit.client("kinesis-video-archived-media", url)
    for seed in seeds:
        name = f"door-{seed}"
        command = [*kit.KVS, "put", str(long_clip), name, "--mode", "offline", "-q"]
        with subprocess.Popen(
            [*command, "--endpoint-url", url], stderr=subprocess.PIPE, text=True
        ) as process:

            def begun(name: str = name, process: subprocess.Popen[str] = process) -> bool:
                try:
                    return bool(archive.list_fragments(StreamName=name)["Fragments"])
                except ClientError:  # there is no such stream yet
                    return process.poll() is not None

            kit.until(begun, 60)
            dice = random.Random(seed)
            time.sleep(dice.uniform(0, 0.3))
            number = list(SIGNALS)[seed % len(SIGNALS)]
            process.send_signal(number)
            _, told = process.communicate(timeout=60)
        assert "Traceback" not in told, seed
        have = len(stored(kit, url, name))
        if process.returncode in (0, -number):  # it was done, and perhaps just ending
            assert have == 12_000, seed
            continue
        assert process.returncode == SIGNALS[number], (seed, told)
        assert f": {have} of {have} frames that were put are stored" in told, (seed, told)
