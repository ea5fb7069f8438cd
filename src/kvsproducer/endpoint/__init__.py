"""A local Kinesis Video Streams endpoint: the service's HTTP API on a port of this machine.

It implements the control plane, PutMedia, GetMedia, ListFragments and GetMediaForFragmentList, for
tests and for work without an AWS account. Layer 4 (see ARCHITECTURE.md): it imports neither
`kvsproducer.client` nor `kvsproducer.producer`.
"""

import kvsproducer.quiet  # noqa: F401  must be imported before anything logs
from kvsproducer.endpoint.bounds import EndpointLimits
from kvsproducer.endpoint.faults import Fault, FaultKind
from kvsproducer.endpoint.local import LocalEndpoint, local_endpoint, run_server
from kvsproducer.endpoint.sigv4 import Credentials

__all__ = [
    "LocalEndpoint",
    "local_endpoint",
    "run_server",
    "Credentials",
    "EndpointLimits",
    "Fault",
    "FaultKind",
]
