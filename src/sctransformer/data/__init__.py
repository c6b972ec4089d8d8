"""Cells in: reading, counts and their checks, the example cells, gene panel, splits, Great Expectations suites."""
