"""A GPU, whole tiles at a time."""
