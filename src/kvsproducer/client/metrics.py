"""Metrics of a stream and of a client.

Source: AWS's StreamMetrics (version 3) and ClientMetrics (version 2). Durations and latencies are
in ticks, sizes in bytes, rates in frames or bytes per second. Averages are exponential moving
averages. Counters are updated when something happens; a snapshot is made only on request.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

from kvsproducer import limits
from kvsproducer.duration import TICKS_PER_SECOND
from kvsproducer.status import StatusCode, kvs_error

__all__ = ["ClientMetrics", "StreamCounters", "StreamMetrics", "moving_average"]


def moving_average(average: float, sample: float) -> float:
    """Return the average after one more sample; the first sample is the average."""
    if not average:
        return sample
    return limits.METRICS_EMA_ALPHA * sample + (1 - limits.METRICS_EMA_ALPHA) * average


@dataclass(slots=True)
class StreamCounters:
    """The counters of a stream; see `StreamMetrics` for their meanings."""

    transferred_bytes: int = 0
    total_sessions: int = 0
    total_active_sessions: int = 0
    avg_session_duration: float = 0.0
    buffered_acks: int = 0
    received_acks: int = 0
    persisted_acks: int = 0
    error_acks: int = 0
    dropped_frames: int = 0
    dropped_fragments: int = 0
    skipped_frames: int = 0
    storage_pressures: int = 0
    latency_pressures: int = 0
    buffer_pressures: int = 0
    stale_events: int = 0
    put_frame_errors: int = 0
    cpl_api_call_latency: float = 0.0
    data_api_call_latency: float = 0.0
    api_call_retries: int = 0


# The fields that each version of AWS's structures added, under our names.
_STREAM_FIELDS: Final = (
    (
        "current_view_duration",
        "overall_view_duration",
        "current_view_size",
        "overall_view_size",
        "current_frame_rate",
        "current_transfer_rate",
    ),
    (
        "uptime",
        "transferred_bytes",
        "total_sessions",
        "total_active_sessions",
        "avg_session_duration",
        "buffered_acks",
        "received_acks",
        "persisted_acks",
        "error_acks",
        "dropped_frames",
        "dropped_fragments",
        "skipped_frames",
        "storage_pressures",
        "latency_pressures",
        "buffer_pressures",
        "stale_events",
        "put_frame_errors",
        "cpl_api_call_latency",
        "data_api_call_latency",
    ),
    ("elementary_frame_rate",),
    ("api_call_retries",),
)
_CLIENT_FIELDS: Final = (
    (
        "content_store_size",
        "content_store_available_size",
        "content_store_allocated_size",
        "total_content_views_size",
        "total_frame_rate",
        "total_transfer_rate",
    ),
    ("total_elementary_frame_rate",),
    ("avg_api_call_retry_count",),
)


@dataclass(frozen=True, slots=True)
class StreamMetrics:
    """A snapshot: `current_*` covers the media still to be sent, `overall_*` all held media.

    `counters` contains the counts so far. Latencies and session durations are averages in ticks.
    `version` is the requested version; `to_dict` returns the fields of that version.
    """

    current_view_duration: int
    overall_view_duration: int
    current_view_size: int
    overall_view_size: int
    current_frame_rate: float
    elementary_frame_rate: float
    current_transfer_rate: float
    uptime: int
    counters: StreamCounters = field(default_factory=StreamCounters)
    version: int = limits.STREAM_METRICS_VERSION

    def to_dict(self) -> dict[str, int | float]:
        """Return the fields of the structure's version, and the version, as plain data."""
        values = asdict(self)
        return _of_version({**values, **values["counters"]}, _STREAM_FIELDS, self.version)


@dataclass(frozen=True, slots=True)
class ClientMetrics:
    """A snapshot over all streams of a client.

    Sizes are in bytes. `version` has the same meaning as in `StreamMetrics`.
    """

    content_store_size: int
    content_store_available_size: int
    content_store_allocated_size: int
    total_content_views_size: int
    total_frame_rate: float
    total_transfer_rate: float
    total_elementary_frame_rate: float
    avg_api_call_retry_count: float
    version: int = limits.CLIENT_METRICS_VERSION

    def to_dict(self) -> dict[str, int | float]:
        """Return the fields of the structure's version, and the version, as plain data."""
        return _of_version(asdict(self), _CLIENT_FIELDS, self.version)


def _of_version(
    values: dict[str, int | float], fields: tuple[tuple[str, ...], ...], version: int
) -> dict[str, int | float]:
    names = [name for added in fields[: version + 1] for name in added]
    return {"version": version, **{name: values[name] for name in names}}


def check_metrics_version(version: int, newest: int, status: StatusCode) -> None:
    """Raise `status` for an unknown metrics version.

    The versions are those of AWS's structures. They are here and not in `compat` because
    `Producer.metrics(version)` is public, and because AWS's test cases ask for each version.
    """
    if not 0 <= version <= newest:
        raise kvs_error(
            status, f"metrics of version {version} do not exist; versions 0 to {newest} are known"
        )


class Rates:
    """Frame and transfer rates, sampled at fragment starts and at reads."""

    __slots__ = (
        "_frames",
        "_last_pts",
        "_last_put",
        "_last_read",
        "_sampled_bytes",
        "elementary",
        "frame",
        "next_read",
        "transfer",
        "transferred",
    )

    def __init__(self, now: int) -> None:
        self.frame = 0.0  # from the times of the puts
        self.elementary = 0.0  # from the timestamps of the frames
        self.transfer = 0.0
        self.transferred = 0  # bytes
        self._frames = 0
        self._last_put = 0
        self._last_pts = 0
        self._sampled_bytes = 0  # value of `transferred` at the last sample
        self._last_read = now
        self.next_read = now + limits.TRANSFER_RATE_MIN_INTERVAL  # when `sample_read` is due

    def sample_put(self, frames: int, pts: int, now: int) -> None:
        """Take a sample when a fragment starts; `frames` is the number of frames put so far."""
        if self._frames:
            count = frames - self._frames
            if now > self._last_put:
                self.frame = moving_average(
                    self.frame, count * TICKS_PER_SECOND / (now - self._last_put)
                )
            if pts > self._last_pts:
                self.elementary = moving_average(
                    self.elementary, count * TICKS_PER_SECOND / (pts - self._last_pts)
                )
        self._frames, self._last_put, self._last_pts = frames, now, pts

    def sample_read(self, now: int) -> None:
        """Take a sample of `transferred`; the caller must not call it before `next_read`."""
        count, elapsed = self.transferred - self._sampled_bytes, now - self._last_read
        self.transfer = moving_average(self.transfer, count * TICKS_PER_SECOND / elapsed)
        self._sampled_bytes, self._last_read = self.transferred, now
        self.next_read = now + limits.TRANSFER_RATE_MIN_INTERVAL
