"""Cached feature maps of a frozen backbone."""
