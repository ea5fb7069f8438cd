"""The fast paths give the same results as the general paths for random sequences.

The fast paths are a put without a decision, the sender's plain items, and `AckParser.read_one`. Two
clients run the same random sequence of steps, one of them without fast paths. After each step,
everything visible is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsproducer import client as kvs
from kvsproducer.client.intake import Intake
from kvsproducer.client.sender import Sender
from kvsproducer.status import KvsError

MS = 10_000
NOW = 17_000_000_000_000_000
ANNEXB = (b"\0\0\0\1\x09\xf0\0\0\1\x41abc", b"\0\0\0\1\x41", b"\0\0\1\x41\0\0\0\0\0\2", b"no code")


FIELDS = (
    *("index", "fragment", "timestamp", "ack_timestamp", "duration", "flags", "header", "length"),
    *("charge", "prefix_length"),
)


class GeneralSender(Sender):
    """A sender without its fast path."""

    __slots__ = ()

    def _update_plain(self) -> None:
        self._plain = False


class NeverPlain(dict[int, Any]):
    """A mapping that makes every frame need a full check of its format."""

    def get(self, _track_id: object, _default: object = None) -> Any:
        return lambda data: None


class Story:
    """One client with its stream and service; with `general` it uses no fast path."""

    def __init__(self, general: bool, info: dict[str, Any]) -> None:
        self.general = general
        self.now = self.time = NOW
        self.uploads: list[int] = []
        self.client = kvs.Client(
            kvs.DeviceInfo(storage_info=kvs.StorageInfo(storage_size=1 << 20)),
            now=NOW,
            dice=lambda sides: sides // 2,
        )
        self.stream = self.client.open_stream(kvs.StreamInfo.video("h264", name="s", **info), NOW)
        self.core = self.stream._core
        if general:
            self.stream._intake._formats.plain = NeverPlain()
            self.stream._sender = GeneralSender(self.core, self.stream._control)

    def settle(self) -> list[object]:
        """Answer the calls; return the other effects and the events."""
        seen: list[object] = []
        while (effect := self.client.poll_effect()) is not None:
            if isinstance(effect, kvs.Call):
                answer = {
                    kvs.GetSecurityToken: kvs.AuthInfo(),
                    kvs.GetStreamingToken: kvs.AuthInfo(expiration=self.now + 120_000 * MS),
                    kvs.CreateDevice: "device-arn",
                    kvs.DescribeStream: kvs.StreamDescription("stream-arn"),
                    kvs.GetStreamingEndpoint: "https://data",
                }.get(type(effect))
                if isinstance(effect, kvs.PutStream):
                    self.uploads.append(effect.upload)
                self.client.call_result(effect, 200, self.now, answer)
            else:
                seen.append(effect)
        while (event := self.client.next_event()) is not None:
            seen.append(event)
        return seen

    def put(
        self, step: int, lag: int, duration: int, flags: int, size: int, track: int, odd: int
    ) -> None:
        self.time += step
        data = ANNEXB[-1 - size] if size < 0 else b"\0\0\0\1\x41" + b"x" * size if size else b""
        frame = kvs.Frame(
            data, self.time + odd, dts=self.time + odd - lag if lag else None,
            duration=duration, flags=flags, track_id=track,
        )  # fmt: skip
        self.stream.put_frame(frame, self.now)

    def read(self, limit: int, which: int) -> tuple[bytes, kvs.ReadStatus] | None:
        if not self.uploads:
            return None
        number = self.uploads[-1 - which % len(self.uploads)]
        buffers, status = self.stream.next_buffers(number, limit, self.now)
        return b"".join(buffers), status

    def ack(self, kind: str, back: int, error: int) -> None:
        starts = [item for item in self.core.buffer.view.items.values() if item.flags & 2]
        if not starts or not self.uploads:
            return
        timecode = starts[-1 - back % len(starts)].ack_timestamp // MS
        extra = f',"ErrorId":{error}' if kind == "ERROR" else ""
        text = f'{{"EventType":"{kind}","FragmentTimecode":{timecode},"FragmentNumber":"1"{extra}}}'
        pieces = [text[:20], text[20:]] if self.general else [text]
        for piece in pieces:
            self.stream.receive_ack(self.uploads[-1], piece.encode(), self.now)

    def wait(self, ticks: int) -> None:
        self.now += ticks
        self.client.handle_timer(self.now)

    def lose(self, result: int) -> None:
        if self.uploads:
            self.stream.upload_ended(self.uploads[-1], result, self.now)

    def put_metadata(self, name: str, persistent: bool) -> None:
        self.stream.put_fragment_metadata(name, "value", persistent, self.now)

    def start_over(self, connection: bool) -> None:
        (self.stream.reset_connection if connection else self.stream.reset)(self.now)

    def outcome(self, name: str, arguments: tuple[Any, ...]) -> object:
        """Return the result of a step, and the visible state after it."""
        try:
            result: object = getattr(self, name)(*arguments)
        except kvs.WouldBlock as block:
            result = "would block", block.deadline
        except KvsError as error:
            result = error.status, error.detail
        core, view = self.core, self.core.buffer.view
        window = view.tail, view.current, view.head, view.start_time, view.end_time
        sums = view.size_bytes, view.unsent_bytes, core.buffer.store.used_bytes
        return result, self.settle(), self.stream.account(), window, sums

    def items(self) -> list[object]:
        return [
            [*(getattr(item, name) for name in FIELDS), b"".join(item.payload)]
            for item in self.core.buffer.view.items.values()
        ]


FRAMES = st.tuples(
    st.just("put"),
    st.tuples(
        st.sampled_from([40 * MS, 40 * MS, 40 * MS, 0, 41 * MS + 3, -80 * MS, 40_000 * MS]),
        st.sampled_from([0, 0, 0, 80 * MS, 7, -40 * MS]),
        st.sampled_from([40 * MS, 40 * MS, 0, 12_345, -1, 2**63]),
        st.sampled_from([0, 0, 0, 0, 0, 0, 1, 1, 2, 4, 8]),
        st.sampled_from([3, 200, 200, 1000, 60_000, 0, -1, -2, -3, -4, 2_000_000]),
        st.sampled_from([1] * 12 + [2]),
        st.sampled_from([0, 0, 0, 5]),
    ),
)
PLAIN = st.just(("put", (40 * MS, 0, 40 * MS, 0, 200, 1, 0)))
KEYS = st.just(("put", (40 * MS, 0, 40 * MS, 1, 1000, 1, 0)))
READS = st.tuples(
    st.just("read"),
    st.tuples(st.sampled_from([1 << 20, 1 << 20, 1 << 20, 700, 14, 1]), st.integers(0, 5).map(
        lambda which: max(which - 3, 0)
    )),
)  # fmt: skip
ACKS = st.tuples(
    st.just("ack"),
    st.tuples(
        st.sampled_from(["BUFFERING", "RECEIVED", "PERSISTED", "PERSISTED", "ERROR", "IDLE"]),
        st.integers(0, 3),
        st.sampled_from([4001, 5000]),
    ),
)
RARE = st.one_of(
    st.tuples(st.just("wait"), st.tuples(st.sampled_from([MS, 6_000 * MS, 100_000 * MS]))),
    st.tuples(st.just("lose"), st.tuples(st.sampled_from([200, 500, 599]))),
    st.tuples(st.just("put_metadata"), st.tuples(st.sampled_from(["a", "b"]), st.booleans())),
    st.tuples(st.just("start_over"), st.tuples(st.booleans())),
)
STEPS = st.lists(
    st.one_of(PLAIN, PLAIN, PLAIN, PLAIN, KEYS, READS, READS, FRAMES, FRAMES, ACKS, RARE),
    min_size=20,
    max_size=60,
)
INFOS = st.fixed_dictionaries(
    {
        "nal_adaptation": st.sampled_from([0, kvs.NalAdaptation.ANNEXB_NALS]),
        "streaming_type": st.sampled_from(list(kvs.StreamingType)),
        "retention": st.sampled_from(["PT0S", "PT1H"]),
        "buffer_duration": st.sampled_from([2, 20]),
        "max_latency": st.sampled_from([0, 0.5]),
        "frame_timecodes": st.booleans(),
        "absolute_fragment_times": st.booleans(),
        "fragment_acks": st.booleans(),
        "key_frame_fragmentation": st.booleans(),
        "timecode_scale": st.sampled_from([MS, MS, 10 * MS, 1_000]),
        "frame_rate": st.just(25),
    }
).filter(  # combinations that KVS does not support
    lambda info: (
        info["streaming_type"] is not kvs.StreamingType.OFFLINE
        or (info["retention"] != "PT0S" and info["fragment_acks"])
    )
)


@settings(max_examples=60, deadline=None)
@given(info=INFOS, steps=STEPS)
def test_fast_and_general_paths_give_the_same_results(
    info: dict[str, Any], steps: list[tuple[str, tuple[Any, ...]]]
) -> None:
    """Results, errors, events, effects, accounts, sums and bytes are compared after each step."""
    quick, general = Story(False, info), Story(True, info)
    assert quick.settle() == general.settle()
    for name, arguments in [("put", (40 * MS, 0, 40 * MS, 1, 1000, 1, 0)), *steps]:
        assert quick.outcome(name, arguments) == general.outcome(name, arguments), (name, arguments)
    assert quick.items() == general.items()


def test_most_frames_take_the_fast_paths(
    desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 50 frames, only the key frames take the general path."""
    general: list[kvs.Frame] = []
    put_any, next_item, asked = Intake._put_any, Sender._next_item, []

    def noted(intake: Intake, frame: kvs.Frame, now: int) -> None:
        general.append(frame)
        put_any(intake, frame, now)

    def counted(sender: Sender, upload: Any) -> Any:
        asked.append(upload)
        return next_item(sender, upload)

    monkeypatch.setattr(Intake, "_put_any", noted)
    monkeypatch.setattr(Sender, "_next_item", counted)
    d = desk()
    for index in range(50):
        d.put(index, data=b"data")
        d.read()
    assert [frame.key_frame for frame in general] == [True] * 10
    assert len(asked) == 2, "the first item, and that there was no more then"
