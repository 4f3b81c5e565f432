"""Trials, run directories and the files that a run leaves."""
