"""The version of this package, for user agents, MKV application names and `kvs --version`.

`pyproject.toml` states the same number; a test holds the two together.
"""

__all__ = ["APPLICATION", "VERSION"]

VERSION = "0.1.0"
APPLICATION = f"kvsproducer {VERSION}"
"""The name of this package in MKV headers (MuxingApp, WritingApp)."""
