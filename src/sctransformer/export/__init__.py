"""Export a trained model: the ONNX graph and its variants, parity with torch, the model bundle."""
