"""Executors: where jobs are run. One file each."""
