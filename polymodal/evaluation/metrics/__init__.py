"""Metrics of predictions.

To add one, write a module in this package and add its class to METRICS.
"""

from polymodal.evaluation.metrics.accuracy import Accuracy
from polymodal.evaluation.metrics.base import Metric
from polymodal.evaluation.metrics.bleu import BLEU3
from polymodal.evaluation.metrics.rmse import RMSE
from polymodal.evaluation.metrics.ssim import SSIM, PaperSSIM

__all__ = ["BLEU3", "COMPANIONS", "METRICS", "RMSE", "SSIM", "Accuracy", "Metric", "PaperSSIM"]

METRICS: dict[str, type[Metric]] = {
    "acc": Accuracy,
    "bleu-3": BLEU3,
    "rmse": RMSE,
    "ssim": SSIM,
    "ssim-paper": PaperSSIM,
}
"""Metrics by name."""

COMPANIONS = {"ssim": ["ssim-paper"], "frechet": ["fid"]}
"""Additional metrics reported along with a metric; comparisons of models use only the latter."""
