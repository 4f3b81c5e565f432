"""Distinctiveness of the units of a network (similarity and removal studies)."""
