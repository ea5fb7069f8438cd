"""Memory use in an outage: a fresh process fills its store with tiny frames."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys

from benchmarks.report import Figure

FRAME_BYTES = (200, 20_000)
STORES = ("in_mem", "arena")


def measure(frame_bytes: int, store: str) -> None:
    """Fill a 128 MiB store twice over while no service answers; print the growth in MB."""
    import kvsproducer as kvs
    from benchmarks.media import payload

    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "EXAMPLE"}
    info = kvs.StreamInfo.video(
        "h264",
        nal_adaptation=kvs.NalAdaptation.NONE,
        buffer_duration="P1D",
        frame_rate=1000,
    )
    silent = socket.create_server(("127.0.0.1", 0))  # takes connections, never answers
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    storage = kvs.DeviceInfo().storage_info.storage_size
    chosen = kvs.StorageInfo(kvs.StorageType[store.upper()], storage)
    device = kvs.DeviceInfo(storage_info=chosen)
    producer = kvs.Producer(endpoint_url=url, device_info=device)
    stream = producer.open_stream("bench", info)
    data = payload(frame_bytes)
    before = resident_mb()
    if chosen.storage_type is kvs.StorageType.ARENA:
        before -= storage / 1e6  # the store has allocated it already
    start = kvs.now()
    for number in range(2 * storage // (frame_bytes + 500)):
        copy = data[:-8] + number.to_bytes(8, "big")  # each frame holds bytes of its own
        frame = kvs.Frame(copy, start + number * 10_000, key_frame=number % 50 == 0)
        stream.put_frame(frame)
    print(resident_mb() - before)
    os._exit(0)


def resident_mb() -> float:
    """Return the resident memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def run() -> list[Figure]:
    """Return one figure for each store and frame size."""
    figures = []
    for store, size in itertools.product(STORES, FRAME_BYTES):
        command = f"from benchmarks.bench_memory import measure; measure({size}, {store!r})"
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
        what = f"128 MiB ({store}) full of {size} B frames: growth"
        figures.append(Figure("memory", what, float(done.stdout), "MB", "< 194 (storage + 60)"))
    return figures
