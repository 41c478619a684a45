"""Display names of models and tasks, and plotting styles of models."""

from __future__ import annotations

from collections.abc import Iterable

from polymodal.models import MODELS
from polymodal.report import figures
from polymodal.runtime.formatting import printable

__all__ = ["assign_styles", "format_model_name", "format_task_name"]

SPELT = {"mac-wae-paper": "MAC-WAE (paper)", "mmvae-plus": "MMVAE+", "mopoe": "MoPoE", "nexus": "Nexus"}
"""Display names that are not the name in capitals, including that of MAC-WAE in its paper's setting."""


def format_model_name(model: str) -> str:
    """Returns the display name of a model; other names stay unchanged, with unprintable characters escaped.

    Example:
        >>> [format_model_name(name) for name in ("mac-wae", "mmvae-plus", "mopoe", "ours, beta=2")]
        ['MAC-WAE', 'MMVAE+', 'MoPoE', 'ours, beta=2']
    """
    return SPELT[model] if model in SPELT else model.upper() if model in MODELS else printable(model)


def format_task_name(task: str) -> str:
    """Returns the name of a task with hyphens, as in the paper.

    Example:
        >>> format_task_name("many_to_one")
        'many-to-one'
    """
    return printable(task).replace("_", "-")


def assign_styles(models: Iterable[str]) -> dict[str, int]:
    """Returns a style number per model; registered models have the same in all figures, and excess models are grey.

    Example:
        >>> assign_styles(["jmvae", "M-WAE", "ours"])
        {'jmvae': 0, 'M-WAE': 1, 'ours': 2}
    """
    models = list(models)
    own = {format_model_name(model).lower(): place for place, model in enumerate(MODELS)}
    given = {
        model: own[format_model_name(model).lower()] for model in models if format_model_name(model).lower() in own
    }
    free = (place for place in range(len(models) + len(given)) if place % figures.STYLES not in given.values())
    return {model: given[model] if model in given else next(free, figures.OTHER) for model in models}
