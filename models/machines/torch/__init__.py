"""Layer by layer on torch, on any of its devices."""
