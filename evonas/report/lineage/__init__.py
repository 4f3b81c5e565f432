"""Figure of the ancestry of a search's networks."""
