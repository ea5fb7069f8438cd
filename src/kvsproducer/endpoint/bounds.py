"""What the endpoint allows: the service's limits, which tests make smaller."""

from __future__ import annotations

from dataclasses import dataclass, fields

from kvsproducer import limits
from kvsproducer.duration import durations_to_ticks

__all__ = ["EndpointLimits"]


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Sizes in bytes, durations in ticks. By default those of the service.

    Durations may be given as a `timedelta` or as text (`"PT2M"`) too; raises as `to_ticks`.
    """

    fragment_bytes: int = limits.SERVICE_MAX_FRAGMENT_BYTES
    fragment_duration: int = limits.SERVICE_MAX_FRAGMENT_DURATION
    connection_duration: int = limits.SERVICE_MAX_CONNECTION_DURATION
    idle_timeout: int = limits.SERVICE_IDLE_TIMEOUT  # then a PutMedia request is ended
    idle_ack_interval: int = limits.SERVICE_IDLE_TIMEOUT // 6  # ours; the service's is not known
    get_media_idle: int = limits.SERVICE_GET_MEDIA_IDLE  # then GetMedia ends, if nobody uploads

    def __post_init__(self) -> None:
        durations_to_ticks(self, (f.name for f in fields(self) if f.name != "fragment_bytes"))
