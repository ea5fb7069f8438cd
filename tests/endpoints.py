"""Settings that the local endpoints of several tests share."""

from __future__ import annotations

from kvsproducer.endpoint import EndpointLimits

QUICK = EndpointLimits(get_media_idle=0.2)
"""GetMedia ends 0.2 s after the last fragment, instead of 3 s as the service does."""
