"""Checks of custom classes: the laws that every registered metric and regulariser fulfils.

A check raises an AssertionError that names the law that does not hold, and the values that show it.
"""

from polymodal.testing.metric_checks import check_metric
from polymodal.testing.regularizer_checks import check_regularizer

__all__ = ["check_metric", "check_regularizer"]
