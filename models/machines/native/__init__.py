"""The native machine: C compiled once for each instruction set, called through ctypes. `build` makes it, `library` loads it."""
