"""Training loop for all models, based on Accelerate."""

from polymodal.training.accelerator import check_device, connect_processes, select_device
from polymodal.training.balance import balance, compute_constant_costs, compute_loss_weights
from polymodal.training.loop import Fit, check_settings, fit
from polymodal.training.records import FREE, holds_run
from polymodal.training.stopping import Stopped

__all__ = [
    "FREE",
    "Fit",
    "Stopped",
    "balance",
    "check_device",
    "check_settings",
    "compute_constant_costs",
    "compute_loss_weights",
    "connect_processes",
    "fit",
    "holds_run",
    "select_device",
]
