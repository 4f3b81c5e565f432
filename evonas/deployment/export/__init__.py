"""Export of retrained networks to .onnx and .pt2 files, and prediction with these files."""
