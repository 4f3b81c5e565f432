"""Performance estimation: features, training, cost and the objective."""
