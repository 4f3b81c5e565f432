"""8-bit quantization of a retrained network."""
