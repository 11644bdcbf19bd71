"""The commands, a file each, imported when it is asked for. What is heavy is imported inside the command itself."""
