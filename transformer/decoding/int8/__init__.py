"""Decoding on CPUs with products of 8-bit integers, written in C."""
