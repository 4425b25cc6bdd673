"""Numba kernels that more than one subsystem uses: numbers and arrays in, numbers and arrays out."""
