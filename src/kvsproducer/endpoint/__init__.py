"""A local Kinesis Video Streams endpoint: the service's HTTP API on a port of this machine.

Control plane, PutMedia, GetMedia and ListFragments, for tests and for work without an AWS account.
Floor 4; knows nothing of the client and the producer.
"""

import kvsproducer.quiet  # noqa: F401  before anything logs
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
