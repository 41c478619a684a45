"""Prediction for entire tables: rows are processed in batches, and equal inputs are computed once."""
