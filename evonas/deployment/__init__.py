"""Work on retrained networks: probing, pruning, quantization, distinctiveness and export."""
