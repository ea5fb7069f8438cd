"""What must hold in every stream case, whatever AWS's client did: the promise, step by step.

Where ours differs from C's client on purpose, the steps that follow have nothing to be compared
with. They are not let go, for this holds of them: each upload's bytes are one Matroska stream, from
its header on, whose fragments begin with key frames where they should; every block is a frame that
was put, unchanged, at its time, in order; no more frames count as stored than were sent; what is
gone was sent or told; each ack is told as it was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from common import input_bytes
from stream_rules import EBML_ID
from stream_world import Record, World

from kvsproducer.limits import DEFAULT_TIMECODE_SCALE
from kvsproducer.mkv import MkvParser
from kvsproducer.mkv.events import Block, ClusterStart
from kvsproducer.status import KvsError

_TIE = 3  # timecode units by which the order coordinator may move a frame


class _Session:
    """What was read for one upload."""

    def __init__(self) -> None:
        self.parser = MkvParser()
        self.head = b""
        self.cluster = 0
        self.first = True  # the next block is the cluster's first
        self.offset: int | None = None  # of relative timecodes
        self.newest: dict[int, int] = {}  # track -> number of the newest frame


class Promise:
    """Follows one case. `check` says what is broken after a step, or None."""

    def __init__(self, world: World) -> None:
        config = world.config
        self._world = world
        self._scale = config["timecode_scale"] or DEFAULT_TIMECODE_SCALE
        self._plain = not config.get("adapt_flags")
        self._timed = bool(config.get("frame_timecodes", 1))
        self._tie = _TIE if config.get("frame_order_mode") else 0
        self._by_key = bool(config.get("key_frame_fragmentation", 1)) and not self._tie
        self._put: list[tuple[bytes, int]] = []  # payload and pts of each frame
        self._numbers: dict[bytes, list[int]] = {}
        self._sent: set[int] = set()
        self._sessions: dict[int, _Session] = {}

    def check(self, step: Mapping[str, Any], got: Record) -> str | None:
        if self._world.stream is None:
            return None
        if step["op"].startswith("put_frame"):
            data = input_bytes(step["data"])
            self._numbers.setdefault(data, []).append(len(self._put))
            self._put.append((data, step["pts"]))
        try:
            problem = self._acks(step, got) or self._books()
            if got.get("bytes"):
                problem = problem or self._read(got["bytes"])
        except KvsError as error:
            return f"what was sent is no Matroska: {error}"
        return problem or self._account()

    # --- acks -----------------------------------------------------------------------------------
    @staticmethod
    def _acks(step: Mapping[str, Any], got: Record) -> str | None:
        """What an ack says is told, whatever it does."""
        if not step["op"].startswith("ack") or "expect" not in step:
            return None

        def told(events: list[Record]) -> Counter[tuple[Any, ...]]:
            names = ("type", "timecode", "seq", "result")
            return Counter(
                tuple(event[name] for name in names) for event in events if event["event"] == "ack"
            )

        missing = told(step["expect"].get("events", [])) - told(got["events"])
        return f"acks that were not told: {list(missing)}" if missing else None

    # --- books ----------------------------------------------------------------------------------
    def _books(self) -> str | None:
        assert self._world.stream is not None, "check() looked"
        account = self._world.stream.account()
        balanced = account.accepted == account.persisted + account.dropped + account.held
        return None if balanced and min(account) >= 0 else f"the books: {account}"

    def _account(self) -> str | None:
        """Nothing counts as stored that was never sent, and nothing is gone without a word."""
        stream = self._world.stream
        assert stream is not None, "check() looked"
        account = stream.account()
        if account.dropped != self._world.told_dropped:
            return f"{account}, but {self._world.told_dropped} drops were told"
        if not self._plain or len(self._numbers) < len(self._put):
            return None  # which frame a block is cannot be told
        cut = bool(stream._core.wire_charge)  # half sent, and no longer in the view
        if account.persisted > len(self._sent) + cut:
            return f"{account}, but {len(self._sent)} frames were sent"
        return None

    # --- bytes ----------------------------------------------------------------------------------
    def _read(self, data: bytes) -> str | None:
        number = self._world.named_upload
        session = self._sessions.setdefault(number, _Session())
        if len(session.head) < len(EBML_ID):
            session.head += data[: len(EBML_ID) - len(session.head)]
            if not EBML_ID.startswith(session.head):
                return f"upload {number} begins with {session.head.hex()}"
        session.parser.receive_data(data)
        while (event := session.parser.next_event()) is not None:
            if isinstance(event, ClusterStart):
                session.cluster, session.first = event.timecode, True
            elif isinstance(event, Block):
                problem = self._block(session, event)
                if problem is not None:
                    return f"upload {number}: {problem}"
                session.first = False
        return None

    def _block(self, session: _Session, block: Block) -> str | None:
        if session.first and self._by_key and not block.key_frame:
            return f"a fragment begins with {bytes(block.frames[0])[:8].hex()}, no key frame"
        if not self._plain:
            return None
        payload = bytes(block.frames[0])
        numbers = self._numbers.get(payload)
        if numbers is None:
            return f"nobody put {payload[:16].hex()}"
        self._sent.update(numbers)
        time = session.cluster + block.relative_timecode
        offsets = [self._put[number][1] // self._scale - time for number in numbers]
        if len(numbers) > 1 or not self._timed:
            return None
        if session.offset is None:
            session.offset = (
                0 if self._world.config.get("absolute_fragment_times", 1) else offsets[0]
            )
        if abs(offsets[0] - session.offset) > self._tie:
            return f"{payload[:8].hex()} is {offsets[0] - session.offset} timecode units off"
        if numbers[0] <= session.newest.get(block.track_number, -1):
            return f"{payload[:8].hex()} comes again"
        session.newest[block.track_number] = numbers[0]
        return None
