"""Compiled loops: arrays in, arrays out; no checks, no file access. Importing a module of this package imports numba."""
