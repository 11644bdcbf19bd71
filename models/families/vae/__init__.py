"""The VAE family: `network`, `program`, `floats`, `training`, `model`."""
