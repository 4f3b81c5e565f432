"""Learning problems: targets, loss, metrics and the rule of the mirror image."""
