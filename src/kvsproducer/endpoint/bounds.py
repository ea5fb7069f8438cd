"""What the endpoint allows: the service's limits, which tests make smaller."""

from __future__ import annotations

from dataclasses import dataclass, fields

from kvsproducer import limits
from kvsproducer.duration import DurationField, default_ticks, durations_to_ticks

__all__ = ["EndpointLimits"]


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Sizes in bytes, durations in ticks. By default those of the service.

    Durations may be given as a `timedelta` or as text (`"PT2M"`) too; raises as `to_ticks`.
    `fragments_per_s` is the quota of a stream, 0 for none: the service reads a producer that sends
    more fragments than 5 a second more slowly.
    """

    fragment_bytes: int = limits.SERVICE_MAX_FRAGMENT_BYTES
    fragment_duration: DurationField = default_ticks(limits.SERVICE_MAX_FRAGMENT_DURATION)
    fragments_per_s: int = 0
    # How far the time of a fragment may lie in the future.
    future: DurationField = default_ticks(limits.SERVICE_MAX_FUTURE)
    connection_duration: DurationField = default_ticks(limits.SERVICE_MAX_CONNECTION_DURATION)
    # Then a PutMedia request is ended.
    idle_timeout: DurationField = default_ticks(limits.SERVICE_IDLE_TIMEOUT)
    # Ours; the service's is not known.
    idle_ack_interval: DurationField = default_ticks(limits.SERVICE_IDLE_TIMEOUT // 6)
    # Then GetMedia ends, if nobody uploads.
    get_media_idle: DurationField = default_ticks(limits.SERVICE_GET_MEDIA_IDLE)

    def __post_init__(self) -> None:
        numbers = ("fragment_bytes", "fragments_per_s")
        durations_to_ticks(self, (f.name for f in fields(self) if f.name not in numbers))
