"""A model's weights in the formats of other runtimes."""
