"""The client core without network and threads: put a frame, read its bytes, apply the acks.

AWS's C producer was measured with the same work. Each frame size is put with and without NAL
adaptation, and compared with the calibration loop on the same frame.
"""

from __future__ import annotations

from functools import partial

from benchmarks.media import SIZES, annexb_frame, calibration, ns_per_call, payload
from benchmarks.report import Figure
from kvsproducer import client as core
from kvsproducer.heap import ContentStore

TICK = 400_000
GOP = 25
MAX_FRAMES = 50_000  # 33 minutes of media
START = 17_000_000_000_000_000
READ_BYTES = 2 << 20  # nothing is copied, so an upload may take a frame at once
TARGETS_NS = 9_000, 12_000  # as put, and from Annex-B, at up to 1,000 bytes
ANNEXB_RATIOS = {10_000: 2.5}  # targets for larger frames: multiples of calibration, usually 1
MORE, DATA = core.ReadStatus.MORE, core.DataAvailable  # looked up once, not for every frame


ANSWERS: dict[type, object] = {
    core.GetSecurityToken: core.AuthInfo(data="keys"),
    core.CreateDevice: "arn",
    core.DescribeStream: core.StreamDescription("arn"),
    core.GetStreamingEndpoint: "http://127.0.0.1",
    core.GetStreamingToken: core.AuthInfo(data="keys"),
}


def never_waits(_sides: int) -> int:
    """A source of random numbers that always returns 0."""
    return 0


class Loop:
    """A stream with a service that answers all calls at once, and stores each fragment.

    Its frames have `size` bytes: any bytes without NAL adaptation, Annex-B with it.
    """

    def __init__(
        self, size: int, adaptation: core.NalAdaptation, store: ContentStore | None = None
    ) -> None:
        self._data = self._key_data = payload(size)
        if adaptation is not core.NalAdaptation.NONE:
            self._data, self._key_data = annexb_frame(size), annexb_frame(size, key=True)
        self._adaptation = adaptation
        self._store = store
        self._begin()

    def _begin(self) -> None:
        self.number = 0
        self.client = core.Client(core.DeviceInfo(), now=START, dice=never_waits, store=self._store)
        info = core.StreamInfo.video(
            "h264", name="bench", nal_adaptation=self._adaptation, frame_rate=25, retention="PT1H"
        )
        self.stream = self.client.open_stream(info, START)
        self.upload = 0
        while (effect := self.client.poll_effect()) is not None:
            self.carry_out(effect)

    def carry_out(self, effect: core.Effect) -> None:
        """Answer the calls of the client."""
        if isinstance(effect, core.Call):
            self.client.call_result(effect, 200, START, answer=ANSWERS.get(type(effect)))
            if isinstance(effect, core.PutStream):
                self.upload = effect.upload

    def step(self) -> None:
        """Put one frame, read its bytes, and at the end of a fragment apply its acks."""
        number = self.number
        self.number += 1
        now = START + number * TICK
        key = number % GOP == 0
        data = self._key_data if key else self._data
        self.stream.put_frame(core.Frame(data, now, duration=TICK, key_frame=key), now)
        while (effect := self.client.poll_effect()) is not None:
            if type(effect) is not DATA:
                self.carry_out(effect)
        status = MORE
        while status is MORE:
            _, status = self.stream.next_buffers(self.upload, READ_BYTES, now)
        if key and number:
            self.acknowledge(now - GOP * TICK, now)
            if number >= MAX_FRAMES:
                self._renew()

    def _renew(self) -> None:
        """Replace the stream before its token has to be rotated."""
        self.check()
        self.stream.free(START)
        self._begin()

    def check(self) -> None:
        """Check that all frames are stored, except those of the open fragment."""
        account = self.stream.account()
        assert account.dropped == account.skipped == 0, account
        assert account.held <= GOP, account

    def acknowledge(self, timestamp: int, now: int) -> None:
        """Apply the three acks of a fragment, and take the events."""
        for kind in (b"BUFFERING", b"RECEIVED", b"PERSISTED"):
            self.stream.receive_ack(self.upload, ack(kind, timestamp // 10_000), now)
        while self.client.next_event() is not None:
            pass


def ack(kind: bytes, timecode: int) -> bytes:
    """Return an ack in the service's format."""
    return (
        b'{"EventType":"%s","FragmentTimecode":%d,"FragmentNumber":'
        b'"91343852333181704754345985890710005834298701132"}\n' % (kind, timecode)
    )


def measure(size: int, adaptation: core.NalAdaptation, store: ContentStore | None = None) -> float:
    """Return ns per frame of put + get + ack in the fastest pass."""
    loop = Loop(size, adaptation, store)
    for _ in range(GOP + 1):
        loop.step()
    best = ns_per_call(loop.step, 2 * GOP)
    loop.check()
    loop.stream.free(START)
    return best


def parse_acks() -> float:
    """Return ns per valid ack without effect (a duplicate BUFFERING)."""
    loop = Loop(200, core.NalAdaptation.NONE)
    loop.step()
    data = ack(b"BUFFERING", START // 10_000)

    def take() -> None:
        loop.stream.receive_ack(loop.upload, data, START)
        loop.client.next_event()

    return ns_per_call(take)


def run() -> list[Figure]:
    """Return the figures for all sizes and both formats."""
    rows: list[Figure] = []
    ways = (
        ("no adaptation", core.NalAdaptation.NONE),
        ("Annex-B", core.NalAdaptation.ANNEXB_NALS | core.NalAdaptation.ANNEXB_CPD_NALS),
    )
    for label, adaptation in ways:
        for size in SIZES:
            plain = ns_per_call(partial(calibration, annexb_frame(size)))
            value = measure(size, adaptation)
            annexb = adaptation is not core.NalAdaptation.NONE
            if annexb and size > 1_000:
                target = f"< {ANNEXB_RATIOS.get(size, 1)} x calibration"
            else:
                target = f"< {TARGETS_NS[annexb]:,} ns"
            what = f"put + get + ack, {label}, {size:,} B"
            rows.append(Figure("core", what, value, "ns/frame", target, plain))
    rows.append(
        Figure(
            "core",
            "parse and apply a well-formed ack, take its event",
            parse_acks(),
            "ns",
            "< 5000 ns",
        )
    )
    return rows
