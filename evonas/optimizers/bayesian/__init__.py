"""Gaussian process, acquisition and encoding of the surrogate optimizer."""
