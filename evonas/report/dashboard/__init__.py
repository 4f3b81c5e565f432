"""Dashboard: a local page over all runs of a folder, which follows running searches."""
