"""Names of metrics in words, for pages that people read."""

from __future__ import annotations

__all__ = ["EXPLAINED"]

EXPLAINED = {
    "acc": "accuracy in %",
    "bleu-3": "BLEU with up to 3 words",
    "rmse": "root mean squared error",
    "ssim": "structural similarity",
    "ssim-paper": "structural similarity as in the paper",
}
