"""evonas: evolutionary search for small networks on frozen features."""

__version__ = "0.1.0"
