"""Backbones, one file each: frozen networks whose feature maps have names, called taps."""
