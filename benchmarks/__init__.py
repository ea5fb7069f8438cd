"""Benchmarks of kvsproducer: `make bench` (`ARGS=--json`, or `ARGS='core import'` for parts)."""
