"""What the endpoint allows: the service's limits, which tests make smaller."""

from __future__ import annotations

from dataclasses import dataclass

from kvsproducer import limits

__all__ = ["EndpointLimits"]


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Sizes in bytes, times in ticks. By default those of the service."""

    fragment_bytes: int = limits.SERVICE_MAX_FRAGMENT_BYTES
    fragment_duration: int = limits.SERVICE_MAX_FRAGMENT_DURATION
    connection_duration: int = limits.SERVICE_MAX_CONNECTION_DURATION
    idle_timeout: int = limits.SERVICE_IDLE_TIMEOUT  # then a PutMedia request is ended
    idle_ack_interval: int = limits.SERVICE_IDLE_TIMEOUT // 6  # ours; the service's is not known
    get_media_idle: int = limits.SERVICE_GET_MEDIA_IDLE  # then GetMedia ends, if nobody uploads
