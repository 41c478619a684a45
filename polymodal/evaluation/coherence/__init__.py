"""Coherence: whether predictions and samples are of the right class, as classifiers judge them."""
