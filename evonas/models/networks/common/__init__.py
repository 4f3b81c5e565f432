"""Layers and settings readers shared by the network families."""
