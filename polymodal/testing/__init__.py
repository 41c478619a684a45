"""Checks of user-defined classes: the laws that polymodal's own classes are tested for.

Each check runs all laws, and raises an AssertionError that names the law and the values that break it.

Example:
    >>> from polymodal.modalities import Vector
    >>> check_modality(Vector(2, hidden=(4,)))
"""

from polymodal.testing.examples import EXAMPLES, find_example
from polymodal.testing.metric_checks import check_metric
from polymodal.testing.modality_checks import check_modality
from polymodal.testing.model_checks import check_model
from polymodal.testing.regularizer_checks import check_regularizer

__all__ = ["EXAMPLES", "check_metric", "check_modality", "check_model", "check_regularizer", "find_example"]
