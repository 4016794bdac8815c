"""Metrics, the evaluation of a run, and the model card."""
