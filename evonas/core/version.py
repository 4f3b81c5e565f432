"""Version of evonas."""

__version__ = "0.1.0"
