"""JPEG files as quantised DCT coefficients and the rest, exactly: `file` has parse, shape_of and write."""
