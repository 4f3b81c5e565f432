"""Search strategies behind one ask/tell, one file each. They never see torch."""
