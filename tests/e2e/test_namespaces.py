"""A camera and an endpoint in network namespaces of their own: loss, delay, outage, a new address.

The kernel's TCP on both sides; the link between them is a pair of TUN devices, whose packets this
process hands over, late or not at all (so no `tc netem` is needed). It takes root, `ip` and
/dev/net/tun, and minutes of real time: that is why it runs with `make soak` only, and is skipped,
with the reason, where the machine does not allow it.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import itertools
import json
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvsproducer.endpoint import local_endpoint

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

CAMERA_IP, OTHER_IP, SERVICE_IP = "10.77.0.1", "10.77.0.3", "10.77.0.2"
PORT = 8080
MTU = 1500
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

# Puts frames in real time for the given seconds; prints their number, then the account.
CAMERA = """
import json, sys, time, logging
import kvsproducer as kvs
url, seconds = sys.argv[1], float(sys.argv[2])
logging.basicConfig(level=logging.WARNING)
info = kvs.StreamInfo.video("h264", retention="PT1H", frame_rate=25, nal_adaptation=0)
with kvs.Producer(endpoint_url=url) as producer:
    stream = producer.open_stream("door", info)
    began = time.monotonic()
    for number in range(int(seconds * 25)):
        data = b"frame %08d " % number
        data += bytes((number * 31 + i) % 256 for i in range(64)) * (2000 // 64)
        pts = 17_000_000_000_000_000 + number * 400_000
        stream.put_frame(kvs.Frame(data, pts, duration=400_000, key_frame=number % 5 == 0))
        if number % 25 == 0:
            print(json.dumps(stream.account()), flush=True)
        time.sleep(max(0, began + (number + 1) / 25 - time.monotonic()))
    print(json.dumps(stream.close(timeout=120)), flush=True)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Link:
    """Two namespaces, "camera" and "service", and the packets between them.

    `delay_s` is one way; `loss` is a share of packets; while `cut`, none passes.
    """

    def __init__(self) -> None:
        self.camera, self.service = (f"kvs-{side}-{os.getpid()}" for side in "cs")
        self.delay_s = self.loss = 0.0
        self.cut = False
        self.lost = self.passed = 0
        self._dice = random.Random("link")
        self._ending = False
        self._ends: list[int] = []
        try:
            for name, address in ((self.camera, CAMERA_IP), (self.service, SERVICE_IP)):
                ip("netns", "add", name)
                self._ends.append(self._tun(name, address))
        except BaseException:
            self.remove()
            raise
        self._thread = threading.Thread(target=self._hand_over, name="link")
        self._thread.start()

    @staticmethod
    def _tun(name: str, address: str) -> int:
        """A TUN device in a namespace; the other end of it is ours."""
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        device = f"kvs{os.getpid() % 10_000}{name[4]}"
        request = struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(end, _TUNSETIFF, request)
        ip("link", "set", device, "netns", name)
        ip("-n", name, "link", "set", device, "name", "link0")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "link0")
        ip("-n", name, "link", "set", "link0", "mtu", str(MTU), "up")
        ip("-n", name, "link", "set", "lo", "up")
        return end

    def _hand_over(self) -> None:
        due: list[tuple[float, int, int, bytes]] = []
        order = itertools.count()
        other = dict(zip(self._ends, reversed(self._ends), strict=True))
        while not self._ending:
            wait = max(0.0, due[0][0] - time.monotonic()) if due else 0.1
            for end in select.select(self._ends, [], [], min(wait, 0.1))[0]:
                packet = os.read(end, 2 * MTU)
                if self.cut or self._dice.random() < self.loss:
                    self.lost += 1
                    continue
                self.passed += 1
                heapq.heappush(
                    due, (time.monotonic() + self.delay_s, next(order), other[end], packet)
                )
            while due and due[0][0] <= time.monotonic():
                *_, end, packet = heapq.heappop(due)
                with contextlib.suppress(OSError):  # a device that is going down
                    os.write(end, packet)

    def change_address(self) -> None:
        """The camera gets another address, as with another network or lease."""
        ip("-n", self.camera, "addr", "del", f"{CAMERA_IP}/24", "dev", "link0")
        ip("-n", self.camera, "addr", "add", f"{OTHER_IP}/24", "dev", "link0")

    def end(self) -> None:
        self._ending = True
        self._thread.join(10)
        self.remove()

    def remove(self) -> None:
        for end in self._ends:
            os.close(end)
        for name in (self.camera, self.service):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.fixture(scope="module")
def _allowed() -> None:
    """Skip where the machine does not let us make namespaces and devices."""
    try:
        Link().end()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"no network namespaces or TUN devices here: {reason.strip()}")


@pytest.fixture
def link(_allowed: None) -> Iterator[Link]:
    made = Link()
    yield made
    made.end()


class Scene:
    """A camera that films over a link to `kvs serve`."""

    def __init__(self, link: Link, folder: Path, command: tuple[str, ...], seconds: float) -> None:
        self.accounts: list[list[int]] = []
        url = f"http://{SERVICE_IP}:{PORT}"
        serve = ("serve", "--host", SERVICE_IP, "--port", str(PORT), "--data", str(folder / "data"))
        self._service = self._start(link.service, *command, *serve)
        assert self._service.stdout is not None
        assert self._service.stdout.readline() == f"listening on {url}\n"
        program = folder / "camera.py"
        program.write_text(CAMERA)
        self.camera = self._start(link.camera, sys.executable, str(program), url, str(seconds))
        self._reader = threading.Thread(target=self._read, name="camera")
        self._reader.start()

    @staticmethod
    def _start(namespace: str, *command: str) -> subprocess.Popen[str]:
        whole = ["ip", "netns", "exec", namespace, *command]
        return subprocess.Popen(whole, stdout=subprocess.PIPE, text=True)

    def _read(self) -> None:
        assert self.camera.stdout is not None
        for line in self.camera.stdout:
            self.accounts.append(json.loads(line))

    @property
    def persisted(self) -> int:
        """Frames so far."""
        return self.accounts[-1][1] if self.accounts else 0

    def end(self) -> list[int]:
        """Wait for the camera's end; its final account."""
        try:
            assert self.camera.wait(240) == 0
            self._reader.join(10)
        finally:
            self.kill()
        return self.accounts[-1]

    def kill(self) -> None:
        for process in (self.camera, self._service):
            process.kill()
            process.wait()
        self._reader.join(10)
        for process in (self.camera, self._service):
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def scene(link: Link, tmp_path: Path, kit: Any) -> Iterator[Callable[[float], Scene]]:
    """scene(seconds): it is on."""
    made: list[Scene] = []

    def start(seconds: float) -> Scene:
        made.append(Scene(link, tmp_path, kit.KVS, seconds))
        return made[-1]

    yield start
    for one in made:
        one.kill()


def assert_all_stored(scene: Scene, kit: Any, folder: Path, seconds: float) -> None:
    """Every frame is persisted, by the camera's books and in the endpoint's store."""
    count = int(seconds * 25)
    assert scene.end() == [count, count, 0, 0, 0]
    media = kit.Media()
    list(media.frames(count))
    with local_endpoint(folder / "data") as endpoint:
        kit.assert_stored(endpoint.url, "door", media.put)


@pytest.mark.parametrize(("loss", "delay_s"), [(0.05, 0.0), (0.0, 0.3), (0.05, 0.3)])
def test_a_bad_line(
    loss: float,
    delay_s: float,
    link: Link,
    scene: Callable[[float], Scene],
    kit: Any,
    tmp_path: Path,
) -> None:
    """5 % of the packets are lost, each takes 300 ms, or both; nothing is lost to the user."""
    link.loss, link.delay_s = loss, delay_s
    filming = scene(20)
    kit.until(lambda: filming.persisted > 100, 60)
    assert_all_stored(filming, kit, tmp_path, 20)
    assert bool(link.lost) is bool(loss)


def test_an_outage_of_a_minute(
    link: Link, scene: Callable[[float], Scene], kit: Any, tmp_path: Path
) -> None:
    """Packets vanish, nothing is refused; the buffer bridges it."""
    filming = scene(85)
    kit.until(lambda: filming.persisted > 50, 60)
    link.cut = True
    time.sleep(60)
    before = filming.persisted
    link.cut = False
    kit.until(lambda: filming.persisted > before + 1000, 60)
    assert_all_stored(filming, kit, tmp_path, 85)


def test_another_address(
    link: Link, scene: Callable[[float], Scene], kit: Any, tmp_path: Path
) -> None:
    """The old connection is dead without a reset; staleness detects that long before TCP."""
    filming = scene(40)
    kit.until(lambda: filming.persisted > 50, 60)
    link.change_address()
    began, before = time.monotonic(), filming.persisted
    kit.until(lambda: filming.persisted > before + 150, 60)
    assert time.monotonic() - began < 28, "not before the upload's own limit of 30 s"
    assert_all_stored(filming, kit, tmp_path, 40)
