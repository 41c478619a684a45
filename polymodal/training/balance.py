"""Weights under which no modality drowns another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table import Table

__all__ = ["balance", "balanced_weights", "constant_costs"]


def balance(model: Model, rows: Table) -> None:
    """Measures a model's balanced weights, once; does nothing where they are measured or not asked for."""
    if not model.weighed:
        model.weight.copy_(balanced_weights(model.schema, constant_costs(model.schema, rows)))
        model.weighed.fill_(True)


def balanced_weights(schema: Schema, costs: Tensor) -> Tensor:
    """`w_m = max_j c_j / c_m`; the modalities of a group share one modality's worth.

    A modality whose best constant prediction is free (it never varies, or no row has it) weighs 1.

    Arguments:
        schema: The modalities.
        costs: The mean cost of each one's best constant prediction c, `(M,)`.

    Returns:
        `(M,)`.

    Example:
        >>> from polymodal.modalities import Label
        >>> from polymodal.schema import Schema
        >>> labels = Schema({"a": Label(2), "b": Label(2), "c": Label(2)}, groups={"g": ["b", "c"]})
        >>> balanced_weights(labels, torch.tensor([4.0, 1.0, 2.0]))
        tensor([1., 2., 1.])
    """
    free = costs <= 1e-12 * costs.max()
    weights = torch.where(free, 1.0, costs.max() / torch.where(free, 1.0, costs))
    for names in schema.groups.values():
        weights[schema.mask(names)] /= len(names)
    return weights


def constant_costs(schema: Schema, rows: Table, batch_size: int = 1024) -> Tensor:
    """The mean cost of each modality's best constant prediction, over the rows that have it.

    Arguments:
        schema: The modalities.
        rows: A table, or anything with its `batches`; gone through once.
        batch_size: Rows at a time.

    Returns:
        `(M,)` float64; 0 for a modality that no row has.
    """
    sums: dict[str, tuple[Any, Any]] = {}
    counts = torch.zeros(len(schema), dtype=torch.float64)
    for batch in rows.batches(batch_size):
        values = schema.hide(batch, torch.float64)
        counts += batch.observed.sum(0)
        for (name, modality), has in zip(schema.items(), batch.observed.unbind(1), strict=True):
            x = modality.dense(values[name][has])
            first, second = sums.get(name, (0.0, 0.0))
            sums[name] = first + x.sum(0), second + x.square().sum(0)
    costs = [
        schema[name].constant_cost(*(moment / count.clamp(min=1) for moment in sums[name]))
        for name, count in zip(schema, counts, strict=True)
    ]
    return torch.where(counts > 0, torch.stack(costs), 0.0)
