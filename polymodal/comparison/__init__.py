"""Comparison of several models: tables of scores, rankings, and the page that shows them."""
