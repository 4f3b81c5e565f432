"""Filter pruning of a retrained network for its task."""
