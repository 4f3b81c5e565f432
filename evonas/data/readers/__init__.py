"""Readers of label files that several data sets share."""
