"""Scheduled annotation: a typed job file, one run of it, what schedulers need, and what the runs left behind."""
