"""Benchmarks: what the service costs, in ratios against what others would do without it."""
