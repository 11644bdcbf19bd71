"""The VQ-VAE family: `network`, `program`, `floats`, `training`, `model`."""
