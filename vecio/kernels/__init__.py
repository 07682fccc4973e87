"""Compiled loops: arrays in, arrays out; no checks, no file access. The modules of this package import numba."""
