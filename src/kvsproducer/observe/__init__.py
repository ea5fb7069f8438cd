"""What an operator sees of a producer: metrics for Prometheus, and traces of uploads."""
