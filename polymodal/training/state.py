"""Parts of a training state: checks of what was read from a file, copies of weights, and Adam's moments."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.io import checkpoint

__all__ = ["check_document", "check_state", "copy_weights", "restore_optimizer"]

COUNTS = ("epoch", "step", "update", "rows")
COLUMNS = ("epoch", "seconds", "learning_rate", "train/total", "validation/total")


def check_state(
    path: Path,
    tensors: Mapping[str, Tensor],
    like: Mapping[str, Tensor],
    parameters: list[nn.Parameter],
    terms: list[str],
) -> None:
    """Checks that the tensors of a state are those of a run.

    Arguments:
        path: State file, for the message.
        tensors: Tensors from the file.
        like: Tensors of the run at its start.
        parameters: Optimised parameters; the file has either all three of Adam's tensors or none for each.
        terms: Names of the loss terms whose sums the state contains.

    Raises:
        ValueError: A tensor is missing, unexpected, of another shape, or contains NaN; the message names it.
    """
    expected = {name: tensor for name, tensor in like.items() if not name.startswith(("optimizer/", "means/"))}
    for name in {"random/cuda"} & ({*tensors} ^ {*like}):  # the run is resumed on another device
        tensors, expected = _without(tensors, name), _without(expected, name)
    expected |= {f"means/{term}": torch.zeros(()) for term in terms}
    for i, p in enumerate(parameters):
        if any(f"optimizer/{i}/{name}" in tensors for name in ("step", "exp_avg", "exp_avg_sq")):
            moments = {f"optimizer/{i}/{name}": p for name in ("exp_avg", "exp_avg_sq")}
            expected |= {f"optimizer/{i}/step": torch.zeros(()), **moments}
    checkpoint.check_tensors(
        path, {name: tensors[name] for name in tensors if name != "random/cuda" or name in like}, expected
    )
    for name in like.keys() & tensors.keys():
        if name.startswith(("model/", "best/", "average/")) and tensors[name].isnan().any():
            raise ValueError(f"{name} must not contain NaN, but it does")


def check_document(document: Mapping[str, Any]) -> None:
    """Checks that a document is one that a run writes.

    Raises:
        ValueError: An entry is invalid; the message names it.
    """
    for name in COUNTS:
        if type(document.get(name)) is not int or not 0 <= document[name] < 2**53:
            raise ValueError(f"{name} must be an integer of at least 0; got {document.get(name)!r}")
    if not _number(document.get("seconds")):
        raise ValueError(f"seconds must be a number; got {document.get('seconds')!r}")
    terms, history = document.get("terms"), document.get("history")
    if not (isinstance(terms, list) and all(isinstance(term, str) for term in terms)):
        raise ValueError("terms must be a list of names")
    if bool(document["step"]) != bool(document["rows"]) or bool(document["step"]) != bool(terms):
        raise ValueError("step, rows and terms must be consistent, but they are not")
    rows = history if isinstance(history, list) and all(isinstance(row, dict) for row in history) else [{}]
    if any(not _number(row.get(name)) for row in rows for name in {*COLUMNS, *row}):
        raise ValueError(f"history must be a list of numbers by name, {', '.join(COLUMNS)} among them")
    if len(rows) != document["epoch"] - 1 or any(row["epoch"] != i for i, row in enumerate(rows, 1)):
        raise ValueError("history must have a row for each epoch before the current one, but it does not")


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of a model's weights by name."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def restore_optimizer(adam: torch.optim.Optimizer, values: Mapping[str, Tensor]) -> None:
    """Restores the state of an optimiser from tensors by parameter number and name, such as "0/exp_avg"."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in values.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})


def _without(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key != name}


def _number(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value)
