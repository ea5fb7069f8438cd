"""The endpoint's limits."""

from __future__ import annotations

from datetime import timedelta

from kvsproducer.endpoint.bounds import EndpointLimits

SECOND = 10_000_000


def test_defaults_are_the_limits_of_the_service() -> None:
    """The KVS documentation has these values."""
    limits = EndpointLimits()
    assert limits.fragment_bytes == 50_000_000
    assert limits.fragment_duration == timedelta(seconds=20)
    assert limits.connection_duration == timedelta(minutes=45)
    assert limits.idle_timeout == timedelta(seconds=30)
    assert limits.get_media_idle == timedelta(seconds=3)
    assert limits.idle_ack_interval < limits.idle_timeout
