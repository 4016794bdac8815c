"""Search, and text in, text out."""
