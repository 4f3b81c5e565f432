"""Parts that several executors share."""
