"""The entropy coder: how the programs of models meet stacks."""
