"""Renderer of the synthetic faces."""
