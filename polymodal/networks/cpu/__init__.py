"""Fast CPU implementations of network operations, with the same results as the standard ones."""
