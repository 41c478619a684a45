"""Implementations of network operations that are fast on a CPU; their results are those of the plain ones."""
