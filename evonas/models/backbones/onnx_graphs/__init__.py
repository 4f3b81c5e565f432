"""ONNX graphs as backbones: reading, rewriting, names of taps, cost, and sessions."""
