"""Fits of committed coefficients from measured data that is not part of the product."""
