"""Report about a trained model as one self-contained HTML page."""

from polymodal.report.page import write

__all__ = ["write"]
