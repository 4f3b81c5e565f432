"""Frozen feature extractors with named taps, one file each."""
