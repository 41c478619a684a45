"""Command line interface of polymodal."""
