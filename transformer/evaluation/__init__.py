"""Metrics, evaluation of a run, the model card."""
