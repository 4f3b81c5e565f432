"""Helpers of tasks that are made of others."""
