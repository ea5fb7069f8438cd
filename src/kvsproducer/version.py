"""The version of this package, in one place: user agents, MKV application names, `kvs --version`.

`pyproject.toml` states the same number; a test holds the two together.
"""

__all__ = ["APPLICATION", "VERSION"]

VERSION = "0.1.0"
APPLICATION = f"kvsproducer {VERSION}"
"""What we call ourselves in MKV headers (MuxingApp, WritingApp)."""
