"""Version of evonas."""

__version__ = "0.2.0"
