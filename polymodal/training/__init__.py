"""Training: one loop for every model, on Accelerate."""

from polymodal.training.balance import balance, balanced_weights, constant_costs
from polymodal.training.loop import Fit, check_device, fit

__all__ = ["Fit", "balance", "balanced_weights", "check_device", "constant_costs", "fit"]
