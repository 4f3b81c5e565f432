"""Linear probes: the labels that linear models predict from the feature maps of a backbone."""
