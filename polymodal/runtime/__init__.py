"""Shared services: random seeds, processes, memory, progress display, and checks of arguments."""
