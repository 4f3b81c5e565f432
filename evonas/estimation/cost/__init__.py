"""Multiply-adds, parameters and latency of a network."""
