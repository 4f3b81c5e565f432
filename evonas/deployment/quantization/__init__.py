"""Quantization of a retrained network to 8-bit integers, and quantization-aware training."""
