"""Pruning of the backbone's filters that the task of a retrained network does not need."""
