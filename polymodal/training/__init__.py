"""Training loop for all models, based on Accelerate."""

from polymodal.training.accelerator import connect_processes, select_device
from polymodal.training.balance import balance
from polymodal.training.loop import Fit, check_settings, fit
from polymodal.training.records import FREE, holds_run
from polymodal.training.stopping import Stopped

__all__ = [
    "FREE",
    "Fit",
    "Stopped",
    "balance",
    "check_settings",
    "connect_processes",
    "fit",
    "holds_run",
    "select_device",
]
