"""Cells in: reading, counts and their checks, the embedded cells, gene panel, splits, Great Expectations suites."""
