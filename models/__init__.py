"""Likelihood models as integer programs. `registry` lists and loads them; importing this package is light."""
