"""Keep the package from printing log lines until the application configures logging.

The modules that log import this one. `kvsproducer/__init__.py` does not, because importing
`logging` would take most of the time of `import kvsproducer`.
"""

import logging

__all__: list[str] = []

logging.getLogger("kvsproducer").addHandler(logging.NullHandler())
