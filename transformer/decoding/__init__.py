"""From source text to translations: search, sampling, long lines, 8-bit kernels."""
