"""Backbones, candidate networks and the files that hold their weights."""
