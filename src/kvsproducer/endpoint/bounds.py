"""The endpoint's limits. The defaults are the service's limits; tests can set smaller ones."""

from __future__ import annotations

from dataclasses import dataclass, fields

from kvsproducer import limits
from kvsproducer.duration import DurationField, default_duration, set_durations

__all__ = ["EndpointLimits"]


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Sizes in bytes, and lengths of time. The defaults are the service's limits.

    Give lengths of time as seconds (int or float), a `timedelta` or ISO 8601 text (`"PT2M"`). The
    attributes are always `timedelta`. Raises INVALID_ARG and INVALID_DURATION_VALUE for other
    values. `fragments_per_s` is the quota of fragments for each stream, or 0 for no limit. If a
    producer exceeds the quota, its upload is read more slowly. The service's quota is 5 fragments a
    second.
    """

    fragment_bytes: int = limits.SERVICE_MAX_FRAGMENT_BYTES
    fragment_duration: DurationField = default_duration(limits.SERVICE_MAX_FRAGMENT_DURATION)
    fragments_per_s: int = 0
    # How far the timestamp of a fragment may be in the future.
    future: DurationField = default_duration(limits.SERVICE_MAX_FUTURE)
    connection_duration: DurationField = default_duration(limits.SERVICE_MAX_CONNECTION_DURATION)
    # A PutMedia request without data ends after this time.
    idle_timeout: DurationField = default_duration(limits.SERVICE_IDLE_TIMEOUT)
    # Time between two IDLE acks. The value is ours; the service's is not known.
    idle_ack_interval: DurationField = default_duration(limits.SERVICE_IDLE_TIMEOUT // 6)
    # GetMedia ends this long after the last upload.
    get_media_idle: DurationField = default_duration(limits.SERVICE_GET_MEDIA_IDLE)

    def __post_init__(self) -> None:
        numbers = ("fragment_bytes", "fragments_per_s")
        set_durations(self, (f.name for f in fields(self) if f.name not in numbers))
