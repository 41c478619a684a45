"""One self-contained HTML page about a trained model."""

from polymodal.report.page import write

__all__ = ["write"]
