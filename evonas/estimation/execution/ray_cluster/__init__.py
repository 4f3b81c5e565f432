"""Ray cluster, workers and job queue of the Ray executor."""
