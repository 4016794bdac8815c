"""Decoding with 8-bit weights in C, on CPUs that can."""
