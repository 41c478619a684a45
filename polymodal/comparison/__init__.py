"""Comparison of several models: tables of scores, rankings, and an HTML page."""
