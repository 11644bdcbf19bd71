"""What one image changes of a network: deltas (decoder) and their fit (encoder)."""
