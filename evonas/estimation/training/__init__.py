"""Training loop, batches and checkpoints of one candidate."""
