"""Distinctiveness of hidden units: similar and complementary units, and their removal."""
