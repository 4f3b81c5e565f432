"""Exported networks on videos: reading, boxes, smoothing, drawing and writing of frames."""
