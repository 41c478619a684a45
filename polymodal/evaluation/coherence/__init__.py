"""Coherence: whether predictions and samples are of the right class according to classifiers."""
