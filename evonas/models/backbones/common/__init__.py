"""Code shared by the backbones: taps, weights and the reading of published formats."""
