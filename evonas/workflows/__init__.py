"""Search loop, retraining, evaluation and comparison."""
