"""Prediction over whole tables: batches are streamed, and equal inputs are computed once."""
