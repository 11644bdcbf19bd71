"""The native machine: C compiled once for each instruction set (`build`) and called through ctypes (`library`)."""
