"""What the local endpoints of tests have in common."""

from __future__ import annotations

from kvsproducer.endpoint import EndpointLimits

QUICK = EndpointLimits(get_media_idle=0.2)
"""GetMedia ends 0.2 s after the last fragment, in place of the service's three seconds."""
