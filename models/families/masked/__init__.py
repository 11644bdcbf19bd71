"""The masked family: `network`, `program`, `latent`, `floats`, `training`, `model`."""
