"""HTML report of one or several searches."""
