"""The causal family: `network`, `program`, the fast machines, `floats`, `training`, `model`."""
