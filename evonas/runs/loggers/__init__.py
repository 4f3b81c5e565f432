"""Loggers: what a search finds out, where other tools show it."""
