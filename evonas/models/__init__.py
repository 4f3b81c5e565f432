"""Backbones, families of candidate networks, and readers and writers of their weights."""
