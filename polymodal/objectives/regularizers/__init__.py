"""What brings codes to the prior. To add one: a file here, and a line in REGULARIZERS."""

from polymodal.objectives.regularizers.base import Regularizer
from polymodal.objectives.regularizers.kl import KL
from polymodal.objectives.regularizers.mmd import MMD

__all__ = ["KL", "MMD", "REGULARIZERS", "Regularizer"]

REGULARIZERS: dict[str, type[Regularizer]] = {"kl": KL, "mmd": MMD}
"""Regularisers by name."""
