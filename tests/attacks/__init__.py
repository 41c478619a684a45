"""Folders that somebody has tampered with."""
