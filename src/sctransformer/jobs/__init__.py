"""Scheduled annotation: typed job files, their runs, files for schedulers, and the history of runs."""
