"""Reading, cropping and resizing images."""
