"""The producer around the sans-I/O core: threads, an event loop, uploads.

Floor 5. `upload` carries PutMedia, both ways at once, and `engine` ties uploads and calls to one
core client on an event loop. `Producer` and `Stream` are the blocking surface, `aio` has the same
for asyncio. `hooks` says what C-style callbacks may do; `kvsproducer.compat` has them.
"""

from kvsproducer.producer.producer import Producer
from kvsproducer.producer.stream import Stream

__all__ = ["Producer", "Stream"]
