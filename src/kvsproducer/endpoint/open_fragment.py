"""A fragment that is being received: its bytes so far, and the service's checks of them.

Source: PutMedia, "Fragments" and ErrorId of the acknowledgement. A failed check raises `Refusal`
with the id of the ERROR ack that the service sends. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from kvsproducer import limits, wire
from kvsproducer.duration import ticks
from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.fragment import Fragment, FragmentInfo
from kvsproducer.mkv.events import Block

__all__ = ["ErrorId", "OpenFragment", "Refusal", "check_metadata"]

_SMALL_BYTES: Final = 512
_CONTROL_TAGS: Final = {
    wire.TAG_IMAGE_GENERATION,
    wire.TAG_IMAGE_PREFIX,
    wire.TAG_NOTIFICATION,
}


class ErrorId:
    """The ids of `wire.ACK_ERRORS` that the endpoint uses."""

    FRAGMENT_SIZE: Final = 4001
    FRAGMENT_DURATION: Final = 4002
    CONNECTION_DURATION: Final = 4003
    TIMECODE_NOT_GREATER: Final = 4004
    TOO_MANY_TRACKS: Final = 4005
    INVALID_MKV: Final = 4006
    PRODUCER_TIMESTAMP: Final = 4007
    STREAM_NOT_ACTIVE: Final = 4008
    METADATA_LIMIT: Final = 4009
    TRACK_NUMBER: Final = 4010
    FRAMES_MISSING: Final = 4011
    INVALID_METADATA: Final = 4012
    INTERNAL: Final = 5000
    ARCHIVAL: Final = 5001


class Refusal(Exception):
    """The service refuses the fragment. `error_id` is for the ack, `reason` for the log."""

    def __init__(self, error_id: int, reason: str) -> None:
        super().__init__(error_id, reason)
        self.error_id = error_id
        self.reason = reason


class OpenFragment:
    """A fragment that is being received. It is created when the timecode of its Cluster is known.

    `timecode` is the timecode of the Cluster, in units of `scale_ns` nanoseconds.
    """

    __slots__ = (
        "_cluster",
        "_counts",
        "_durations",
        "_earliest",
        "_limits",
        "_max_span",
        "_size",
        "latest",
        "leading",
        "metadata_count",
        "number",
        "producer_timestamp",
        "scale_ns",
        "server_timestamp",
        "timecode",
    )

    def __init__(
        self,
        number: str,
        timecode: int,
        *,
        scale_ns: int,
        producer_timestamp: int,
        server_timestamp: int,
        leading: bytes,
        metadata_count: int,
        bounds: EndpointLimits,
    ) -> None:
        self.number = number
        self.timecode = timecode
        self.scale_ns = scale_ns
        self.producer_timestamp = producer_timestamp
        self.server_timestamp = server_timestamp
        self.leading = leading
        self.metadata_count = metadata_count
        self.latest: dict[int, int] = {}  # track -> the latest time of its blocks, in Cluster units
        self._limits = bounds
        self._max_span = ticks(bounds.fragment_duration)
        self._cluster: list[bytes | bytearray] = []
        self._size = len(leading)
        self._earliest: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        self._durations: dict[int, int] = {}

    @property
    def timecode_ms(self) -> int:
        """The Cluster's timecode in milliseconds, as in acks."""
        return self.timecode * self.scale_ns // 1_000_000

    def add_raw(self, raw: bytes) -> None:
        """Add bytes to the Cluster. Raises Refusal 4001."""
        last = self._cluster[-1] if self._cluster else None
        if len(raw) >= _SMALL_BYTES:
            self._cluster.append(raw)
        elif isinstance(last, bytearray):
            last += raw  # as separate objects, tiny blocks would need ten times their size
        else:
            self._cluster.append(bytearray(raw))
        self._size += len(raw)
        if self._size > self._limits.fragment_bytes:
            raise Refusal(ErrorId.FRAGMENT_SIZE, f"more than {self._limits.fragment_bytes} bytes")

    def add_block(self, block: Block, tracks: Collection[int], before: Mapping[int, int]) -> None:
        """Check a block and add its bytes to the Cluster. Raises Refusal 4001, 4002, 4004 or 4010.

        `tracks` are the numbers of the declared tracks. `before` maps a track to its latest time in
        the previous fragment.
        """
        self.add_raw(block.raw)
        track = block.track_number
        if track not in tracks:
            raise Refusal(ErrorId.TRACK_NUMBER, f"track {track} is not declared")
        time = self.timecode + block.relative_timecode
        if time <= before.get(track, time - 1):
            raise Refusal(
                ErrorId.TIMECODE_NOT_GREATER,
                f"track {track} at {time}, while the fragment before reached {before[track]}",
            )
        if track not in self._counts:
            self._counts[track] = 1
            self._earliest[track] = self.latest[track] = time
        else:
            self._counts[track] += 1
            self._earliest[track] = min(time, self._earliest[track])
            self.latest[track] = max(time, self.latest[track])
        if block.duration is not None:
            self._durations[track] = block.duration
        span = (self.latest[track] - self._earliest[track]) * self.scale_ns // 100
        if span > self._max_span:
            raise Refusal(ErrorId.FRAGMENT_DURATION, f"the blocks span {span} ticks")

    def finish(self, header: bytes, trailing: bytes, tracks: Iterable[int]) -> Fragment:
        """Return the complete fragment. Raises Refusal 4011 if a declared track has no block."""
        missing = [track for track in tracks if track not in self._counts]
        if missing or not self._counts:
            raise Refusal(ErrorId.FRAMES_MISSING, f"no frame of track {missing}")
        cluster = b"".join(self._cluster)
        return Fragment(
            FragmentInfo(
                number=self.number,
                producer_timestamp=self.producer_timestamp,
                server_timestamp=self.server_timestamp,
                duration=self._duration(),
                size=len(header) + len(self.leading) + len(cluster) + len(trailing),
            ),
            header,
            self.leading,
            cluster,
            trailing,
        )

    def _duration(self) -> int:
        """Return the time from the first frame to the end of the last one, in ticks.

        A SimpleBlock has no duration, so the mean distance between the blocks of its track is used.
        The client may send any BlockDuration, so the result is limited.
        """
        end = 0
        for track, latest in self.latest.items():
            gaps = self._counts[track] - 1
            mean = (latest - self._earliest[track]) // gaps if gaps else 0
            end = max(end, latest + self._durations.get(track, mean))
        duration = (end - min(self._earliest.values())) * self.scale_ns // 100
        return min(duration, ticks(self._limits.connection_duration))


def check_metadata(pairs: Iterable[tuple[str, str]], count: int) -> int:
    """Add the metadata items of a Tags element to the `count` of a fragment, and return the sum.

    The end-of-fragment tag does not count. Raises Refusal 4009 (too many, or too long) or 4012
    (reserved name).
    """
    for name, value in pairs:
        if name == wire.TAG_END_OF_FRAGMENT:
            continue
        if name.startswith(wire.TAG_RESERVED_PREFIX) and name not in _CONTROL_TAGS:
            raise Refusal(ErrorId.INVALID_METADATA, f"the tag name {name!r} is reserved")
        count += 1
        if count > limits.SERVICE_MAX_FRAGMENT_METADATA:
            raise Refusal(
                ErrorId.METADATA_LIMIT,
                f"more than {limits.SERVICE_MAX_FRAGMENT_METADATA} metadata items",
            )
        if (
            len(name.encode()) > limits.SERVICE_MAX_METADATA_NAME_BYTES
            or len(value.encode()) > limits.SERVICE_MAX_METADATA_VALUE_BYTES
        ):
            raise Refusal(ErrorId.METADATA_LIMIT, f"the tag {name[:32]!r} is too long")
    return count
