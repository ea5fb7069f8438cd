"""What kvsproducer costs: `make bench` (`ARGS=--json`, or `ARGS='core import'` for parts)."""
