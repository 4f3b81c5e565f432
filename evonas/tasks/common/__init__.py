"""Metrics and output formats that several tasks share."""
