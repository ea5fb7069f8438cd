"""The producer shell: the sans-I/O core, driven against the real world.

Floor 4. `service` is botocore's side (credentials, signatures, control plane), `upload` aiohttp's
(PutMedia, both ways at once), `engine` ties them to one core client on an event loop; `Producer`
and `Stream` are the blocking surface, `aio` the asyncio twins. `results` is the border where
foreign errors become results.
"""

from kvsproducer.producer.engine import now
from kvsproducer.producer.producer import Producer
from kvsproducer.producer.service_config import Caching, IpFamily, ServiceConfig
from kvsproducer.producer.stream import Stream

__all__ = ["Caching", "IpFamily", "Producer", "ServiceConfig", "Stream", "now"]
