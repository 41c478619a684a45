"""Training loop for all models, based on Accelerate."""

from polymodal.training.balance import balance, balanced_weights, constant_costs
from polymodal.training.fit_settings import check_device, chosen_device, join
from polymodal.training.loop import Fit, check_settings, fit
from polymodal.training.records import FREE, holds_run
from polymodal.training.stopping import Stopped

__all__ = [
    "FREE",
    "Fit",
    "Stopped",
    "balance",
    "balanced_weights",
    "check_device",
    "check_settings",
    "chosen_device",
    "constant_costs",
    "fit",
    "holds_run",
    "join",
]
