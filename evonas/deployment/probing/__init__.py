"""Linear probes of feature maps."""
