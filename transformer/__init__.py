"""Training, evaluating and using encoder-decoder translation models."""

__version__ = "0.1.0"
