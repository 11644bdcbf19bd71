"""The processor, compiled by numba."""
