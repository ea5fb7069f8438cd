"""How KVS is reached: who calls (credentials), by which way (network), with what result.

Floor 4: the producer and the reader stand on it. `service` builds and signs requests with botocore,
`exchange` sends them with aiohttp, `calls` are the operations of the control plane, and `results`
is the border where foreign errors become results and status codes.
"""

import kvsproducer.quiet  # noqa: F401  before anything logs
