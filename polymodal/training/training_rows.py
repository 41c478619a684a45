"""The training and validation rows of `fit`: checks, selection of the rows, and their device."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import torch

from polymodal.runtime import distributed

if TYPE_CHECKING:
    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["check_rows", "check_shared", "move_to_gpu_if_fits", "select_rows"]


def check_rows(train: Any, validation: Any, schema: Schema) -> None:
    """Checks that training and validation rows are non-empty tables with the model's modalities.

    Raises:
        TypeError: Rows have no `len` or no `batches`.
        ValueError: There are no rows, or their schema differs from the model's.
    """
    for name, rows in {"train": train, "validation": validation}.items():
        if isinstance(rows, type) or not (hasattr(rows, "batches") and hasattr(rows, "__len__")):
            raise TypeError(
                f"{name} must be a Table, or have its len and batches; got {type(rows).__name__}; "
                "put the rows in tensors and pass polymodal.Table(values, observed, schema)"
            )
        if not len(rows):
            raise ValueError(f"{name} must have rows; got none")
        if hasattr(rows, "schema"):
            advice = {"train": "build the model with the schema of these rows, as in build('mac-wae', train.schema)"}
            schema.require(rows.schema, name, advice.get(name))


def check_shared(name: str, rows: Any) -> None:
    """Checks that several processes can share the rows.

    Raises:
        TypeError: The rows are of a custom class whose `batches` does not accept `share`.
    """
    taken = signature(rows.batches).parameters
    if "share" not in taken and not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values()):
        raise TypeError(
            f"{name}.batches must take share=(process, processes) and stride, as polymodal.Table.batches does, to "
            f"train in {distributed.world_size()} processes; {type(rows).__name__}.batches does not; add these "
            "arguments, or train in one process"
        )


def select_rows(model: Model, rows: Table) -> Table:
    """Returns the rows for training: the complete rows if `model.rows` is "complete", otherwise all rows.

    Raises:
        ValueError: The model can be trained on complete rows only, some rows are incomplete, and `model.rows` does not
            leave them out.
    """
    if model.rows is None or not hasattr(rows, "observed"):
        return rows
    if model.rows == "complete":
        return rows.complete()
    model.require_trainable(rows.observed)
    return rows


def move_to_gpu_if_fits(rows: Table, device: torch.device) -> Table:
    """Moves the rows to the GPU if they need at most half of its free memory; otherwise returns them unchanged."""
    if device.type != "cuda" or not hasattr(rows, "nbytes"):
        return rows
    free, _ = torch.cuda.mem_get_info(device)
    return rows.to(device) if rows.nbytes <= free / 2 else rows
