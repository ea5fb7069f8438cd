"""Observe a producer: metrics for Prometheus, a health check, and timings of its frames."""
