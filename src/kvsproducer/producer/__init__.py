"""The producer around the sans-I/O core: threads, an event loop, uploads.

`engine` connects one core client with an event loop, service calls and uploads. `upload` is one
PutMedia request. `Producer` and `Stream` are the blocking API, `aio` is the asyncio API. `hooks`
defines the interface of C-style callbacks, which `kvsproducer.compat` implements.
"""

from kvsproducer.producer.producer import Producer
from kvsproducer.producer.stream import Stream

__all__ = ["Producer", "Stream"]
