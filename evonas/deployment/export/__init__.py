"""Export to ONNX and exported programs, and prediction with exported models."""
