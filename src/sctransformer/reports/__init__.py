"""The report: one HTML page, which works offline, of an annotated file, a training run or a model."""
