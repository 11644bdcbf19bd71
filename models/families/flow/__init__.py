"""The flow family: `network`, `program`, the fast machines, `floats`, `training`, `model`."""
