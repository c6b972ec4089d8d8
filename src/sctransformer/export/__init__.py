"""The ONNX graph, its parity with torch, and the model bundle that is registered and scored."""
