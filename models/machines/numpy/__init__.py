"""The reference, on every installation."""
