"""The continuous flow family: `network`, `program`, `floats`, `training`, `model`."""
