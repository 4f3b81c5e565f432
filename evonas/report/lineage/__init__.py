"""Lineage figure of a search."""
