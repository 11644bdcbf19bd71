"""The masked family where it is trained: graphs in floats, what systems of them are trained for, and their integers."""
