"""The version of this package, for user agents, MKV application names and `kvs --version`.

The build of the package reads it from here (`pyproject.toml`, `tool.setuptools.dynamic`).
"""

__all__ = ["APPLICATION", "VERSION"]

VERSION = "0.1.0"
APPLICATION = f"kvsproducer {VERSION}"
"""The name of this package in MKV headers (MuxingApp, WritingApp)."""
