"""Synthesis: training corpora that models make of text: back-translation, distillation, forward translation."""
