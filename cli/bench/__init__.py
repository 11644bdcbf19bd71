"""What `lgcodec bench` does: codecs to compare, measuring, tables, a plot."""
