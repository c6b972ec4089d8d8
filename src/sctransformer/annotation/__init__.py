"""Labelling new cells with a bundle: onnxruntime only, in chunks. No torch, Ray, DVC or MLflow here."""
