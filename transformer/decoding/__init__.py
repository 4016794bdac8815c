"""Decoding: search, sampling, long lines, 8-bit kernels."""
