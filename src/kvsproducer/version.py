"""The version of this package, for user agents, MKV application names and `kvs --version`.

The package build reads the version from this module (`pyproject.toml`, `tool.setuptools.dynamic`).
"""

__all__ = ["APPLICATION", "VERSION"]

VERSION = "0.1.0"
APPLICATION = f"kvsproducer {VERSION}"
"""The name of this package in MKV headers (MuxingApp, WritingApp)."""
