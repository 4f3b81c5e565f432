"""Network families, one file each: they build a torch module from an architecture."""
