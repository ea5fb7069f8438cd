"""Access to KVS: credentials, network, requests and their results.

The producer and the reader build on this package. `service` creates and signs requests with
botocore, and `exchange` sends them with aiohttp. `calls` has the operations of the control plane.
`results` converts errors of other libraries into results and status codes.
"""

import kvsproducer.quiet  # noqa: F401  before anything logs
