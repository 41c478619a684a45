"""Settings of a training run, and checks of their ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from polymodal.runtime.registry import unknown
from polymodal.training.accelerator import check_precision
from polymodal.training.schedule import Kind

__all__ = ["FitSettings", "check_folder", "check_ranges"]

LIMIT = 2**63
"""Upper bound (exclusive) of numeric arguments; PyTorch's counts and seeds must be lower."""


@dataclass(frozen=True)
class FitSettings:
    """The arguments of `fit` that configure a training run, with the same names; see `fit` for their meaning.

    They are written to `experiment.json` in this order. The folder, `resume` and `progress` are not among them, because
    they do not affect the result.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Kind
    learning_rate_warmup: int
    weight_decay: float
    accumulate: int
    clip: float | None
    ema: float | None
    warmup: int
    patience: int | None
    prior_epochs: int | None
    only: Literal["prior"] | None
    seed: int
    device: str
    precision: Literal["bf16", "fp16", "tf32"] | None
    compile: bool
    save_every: int | None
    trackers: Sequence[str]

    def to_python(self) -> FitSettings:
        """Returns the settings with NumPy scalars converted to Python values."""
        return replace(self, **{name: value.item() for name, value in vars(self).items() if hasattr(value, "item")})


def check_ranges(settings: FitSettings) -> None:
    """Checks that settings are in range.

    Raises:
        ValueError: A setting is out of range; the message names the first one.
    """
    _check_numbers(settings)
    if settings.ema is not None and not 0 < settings.ema < 1:
        raise ValueError(f"ema must be between 0 and 1, such as 0.999; got {settings.ema}; None disables averaging")
    if settings.learning_rate_warmup and settings.schedule == "plateau":
        raise ValueError(
            f"learning_rate_warmup must be 0 with the schedule 'plateau'; got {settings.learning_rate_warmup}; leave "
            "it out, or choose 'constant' or 'cosine'"
        )
    if settings.epochs < settings.warmup:
        raise ValueError(
            f"epochs must be at least warmup ({settings.warmup}), because earlier epochs do not count as best; "
            f"got {settings.epochs}"
        )
    if settings.learning_rate_warmup > settings.epochs:
        raise ValueError(
            f"learning_rate_warmup must be at most epochs ({settings.epochs}); got {settings.learning_rate_warmup}"
        )
    _check_trackers(settings.trackers)
    check_precision(settings.device, settings.precision)


def check_folder(folder: str | Path | None, settings: FitSettings, *, resume: bool) -> None:
    """Checks the name of a run folder, and that there is one if a setting needs it.

    Raises:
        ValueError: The name is empty or contains a null character, or a setting needs a folder and there is none.
    """
    if folder is not None and (not str(folder).strip() or "\0" in str(folder)):
        raise ValueError(f"folder must name a folder; got {folder!r}")
    needs = {"resume": resume, "save_every": settings.save_every, "trackers": settings.trackers}
    for name, value in needs.items():
        if folder is None and value:
            raise ValueError(f"{name} needs a run folder; got folder=None; pass folder='runs/...'")


def _check_numbers(settings: FitSettings) -> None:
    positive = {
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "accumulate": settings.accumulate,
        "patience": settings.patience,
        "clip": settings.clip,
        "save_every": settings.save_every,
        "prior_epochs": settings.prior_epochs,
    }
    for name, number in positive.items():
        if number is not None and not 0 < number < LIMIT:
            raise ValueError(f"{name} must be positive and below 2^63; got {number}")
    not_negative = {
        "weight_decay": settings.weight_decay,
        "warmup": settings.warmup,
        "learning_rate_warmup": settings.learning_rate_warmup,
        "seed": settings.seed,
    }
    for name, number in not_negative.items():
        if not 0 <= number < LIMIT:
            raise ValueError(f"{name} must be at least 0 and below 2^63; got {number}")


def _check_trackers(trackers: Sequence[str]) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if isinstance(trackers, str):
        raise ValueError(f"trackers must be a list of names; got one string; write [{trackers!r}]")
    available = [str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers()]
    for name in trackers:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise unknown(name, map(str, LOGGER_TYPE_TO_CLASS), "tracker")
        if name not in available:
            raise ValueError(f"tracker {name!r} is not installed; try: pip install {name}")
