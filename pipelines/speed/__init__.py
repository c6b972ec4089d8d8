"""Benchmarks: measured by hand and printed as JSON lines; no timed tests."""
