"""Likelihood models as integer programs. Import `lgcodec.models.registry` to list and load them; this import is
light.
"""
