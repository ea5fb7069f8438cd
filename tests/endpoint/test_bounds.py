"""The endpoint's limits."""

from __future__ import annotations

from kvsproducer.endpoint.bounds import EndpointLimits

SECOND = 10_000_000


def test_defaults_are_the_limits_of_the_service() -> None:
    """The KVS documentation has these values."""
    limits = EndpointLimits()
    assert limits.fragment_bytes == 50_000_000
    assert limits.fragment_duration == 20 * SECOND
    assert limits.connection_duration == 45 * 60 * SECOND
    assert limits.idle_timeout == 30 * SECOND
    assert limits.get_media_idle == 3 * SECOND
    assert limits.idle_ack_interval < limits.idle_timeout
