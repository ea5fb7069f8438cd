"""Many cameras in one process: CPU, memory per stream, time of `put_frame`, and drops.

`python -m benchmarks.streams [--streams 200] [--seconds 60] [--json]`, or `make bench-streams`. The
local endpoint runs in another process. One thread puts the frames of all streams, evenly spread, as
a program with a hardware encoder would. CPU is the CPU time of this whole process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field

import kvsproducer as kvs
from benchmarks.bench_memory import resident_mb
from benchmarks.bench_wire import dummy_credentials, process
from benchmarks.media import payload
from benchmarks.report import Figure, show

FPS = 15
FRAME_BYTES = 5_000
GOP = 30  # a fragment is two seconds
SLOTS = 13  # parts of a frame's time in which streams are served: wake-ups every 5 ms
READY_LIMIT_S = 60


@dataclass
class Run:
    """The measured values."""

    streams: int
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    grown_mb: float = 0.0
    held_bytes: int = 0  # in the store, after the last put
    late_s: float = 0.0  # the maximum delay of a put
    puts_us: list[float] = field(default_factory=list)
    accounts: dict[str, kvs.FrameAccount] = field(default_factory=dict)

    def put_us(self, share: float) -> float:
        """Return a quantile of the time that `put_frame` takes."""
        ordered = sorted(self.puts_us)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def figures(self) -> list[Figure]:
        """Return the values as figures."""
        group = f"{self.streams} streams, {FPS} fps, {FRAME_BYTES // 1000} KB"
        dropped = sum(account.dropped for account in self.accounts.values())
        missing = sum(a.accepted - a.persisted for a in self.accounts.values())
        cpu = self.cpu_s / self.elapsed_s * 100
        memory = self.grown_mb * 1000 / self.streams
        held = self.held_bytes / 1000 / self.streams
        return [
            Figure(group, "CPU, share of one core", cpu, "%", "< 50"),
            Figure(group, "CPU per frame", self.cpu_s / len(self.puts_us) * 1e6, "us"),
            Figure(group, "memory per stream", memory, "KB"),
            Figure(group, "of that, media that waits for an ack", held, "KB"),
            Figure(group, "put_frame, median", self.put_us(0.5), "us"),
            Figure(group, "put_frame, p99", self.put_us(0.99), "us"),
            Figure(group, "put_frame, longest", self.put_us(1.0), "us"),
            Figure(group, "behind schedule at most", self.late_s * 1000, "ms"),
            Figure(group, "frames put", len(self.puts_us), "frames"),
            Figure(group, "dropped", dropped, "frames", "0"),
            Figure(group, "not stored at the end", missing, "frames", "0"),
        ]


def info() -> kvs.StreamInfo:
    """Describe the stream of one camera, whose frames have 4-byte NAL lengths."""
    return kvs.StreamInfo.video(
        "h264", retention="PT1H", frame_rate=FPS, nal_adaptation=kvs.NalAdaptation.NONE
    )


def film(streams: list[kvs.Stream], seconds: float, run: Run) -> None:
    """Put the frames of all streams at their times."""
    data, tick = payload(FRAME_BYTES), 10_000_000 // FPS
    start, began, number = kvs.now(), time.perf_counter(), 0
    clock, put_us = time.perf_counter, run.puts_us
    while number < seconds * FPS:
        for slot in range(SLOTS):
            due = began + (number + slot / SLOTS) / FPS
            if (wait := due - clock()) > 0:
                time.sleep(wait)
            else:
                run.late_s = max(run.late_s, -wait)
            for index in range(slot, len(streams), SLOTS):
                copy = data[:-8] + number.to_bytes(8, "big")  # a frame has bytes of its own
                pts, key = start + number * tick, (number + index) % GOP == 0 or not number
                frame = kvs.Frame(copy, pts, duration=tick, key_frame=key)
                before = clock()
                streams[index].put_frame(frame)
                put_us.append((clock() - before) * 1e6)
        number += 1


def measure(url: str, streams: int, seconds: float) -> Run:
    """Open the streams, put frames, and close them."""
    run = Run(streams)
    device = kvs.DeviceInfo(
        stream_count=streams, storage_info=kvs.StorageInfo(storage_size=1 << 30)
    )
    with kvs.Producer(endpoint_url=url, device_info=device) as producer:
        with producer.open_stream("warm-up", info()) as first:
            film([first], 1, Run(1))
        before = resident_mb()
        opened = [producer.open_stream(f"camera-{n:03}", info()) for n in range(streams)]
        for stream in opened:
            stream.wait_ready(READY_LIMIT_S)
        wall, cpu = time.perf_counter(), time.process_time()
        film(opened, seconds, run)
        run.elapsed_s, run.cpu_s = time.perf_counter() - wall, time.process_time() - cpu
        run.held_bytes = producer.metrics().content_store_allocated_size
        # Do not count the memory of the benchmark's list of durations.
        run.grown_mb = resident_mb() - before - sys.getsizeof(run.puts_us) * 4 / 1e6
        accounts = producer.close()
    run.accounts = {name: account for name, account in accounts.items() if name != "warm-up"}
    return run


def main() -> int:
    """Run the benchmark; return 1 if a frame was lost."""
    parser = argparse.ArgumentParser(prog="make bench-streams ARGS=")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    dummy_credentials()
    with tempfile.TemporaryDirectory() as folder, process("benchmarks.server", folder) as (url, _):
        run = measure(url, arguments.streams, arguments.seconds)
    figures = run.figures()
    show(figures, arguments.json)
    return int(any(figure.value for figure in figures[-2:]))


if __name__ == "__main__":
    sys.exit(main())
