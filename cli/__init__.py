"""The command line: click commands over the public API."""
