"""Network families: what turns an architecture into a module, one file each."""
