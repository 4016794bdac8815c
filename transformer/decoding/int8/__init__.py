"""Decoding on CPUs in 8-bit products, written in C."""
