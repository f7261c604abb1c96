"""Networks -> ONNX -> bundles, whose format the runtime owns."""
