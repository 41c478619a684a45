"""How models and tasks are written for people."""

from __future__ import annotations

from collections.abc import Iterable

from polymodal.models import MODELS
from polymodal.report import figures
from polymodal.runtime.formatting import printable

__all__ = ["called", "styles", "task_called"]

SPELT = {"mac-wae-paper": "MAC-WAE (paper)", "mmvae-plus": "MMVAE+", "mopoe": "MoPoE", "nexus": "Nexus"}
"""Models that are not written in capitals, and the row of a study that is MAC-WAE in the paper's own setting."""


def called(model: str) -> str:
    """A model's name as people write it; one that is not registered stays as it is, but for what cannot be seen.

    Example:
        >>> called("mac-wae"), called("mmvae-plus"), called("mopoe"), called("ours, beta=2")
        ('MAC-WAE', 'MMVAE+', 'MoPoE', 'ours, beta=2')
    """
    return SPELT[model] if model in SPELT else model.upper() if model in MODELS else printable(model)


def task_called(task: str) -> str:
    """A task's name with hyphens, as the paper writes it.

    Example:
        >>> task_called("many_to_one")
        'many-to-one'
    """
    return printable(task).replace("_", "-")


def styles(models: Iterable[str]) -> dict[str, int]:
    """A style for each model, which for a registered one is the same in every figure; grey where there are too many.

    Example:
        >>> styles(["jmvae", "M-WAE", "ours"])
        {'jmvae': 0, 'M-WAE': 1, 'ours': 2}
    """
    models = list(models)
    own = {called(model).lower(): place for place, model in enumerate(MODELS)}
    given = {model: own[called(model).lower()] for model in models if called(model).lower() in own}
    free = (place for place in range(len(models) + len(given)) if place % figures.STYLES not in given.values())
    return {model: given[model] if model in given else next(free, figures.OTHER) for model in models}
