"""Weights under which no modality drowns another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table import Table

__all__ = ["balance", "balanced_weights", "constant_costs"]


def balance(model: Model, table: Table) -> None:
    """Measures a model's balanced weights, once; does nothing where they are measured or not asked for."""
    if not model.weighed:
        model.weight.copy_(balanced_weights(model.schema, constant_costs(table)))
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


def constant_costs(table: Table, batch_size: int = 1024) -> Tensor:
    """The mean cost of each modality's best constant prediction, over the rows that have it.

    Returns:
        `(M,)` float64; 0 for a modality that no row has.
    """
    schema = table.schema
    first: dict[str, Tensor | float] = dict.fromkeys(schema, 0.0)
    second = dict(first)
    for batch in table.batches(batch_size):
        values = schema.hide(batch, torch.float64)
        for (name, modality), has in zip(schema.items(), batch.observed.unbind(1), strict=True):
            x = modality.dense(values[name][has])
            first[name] = first[name] + x.sum(0)
            second[name] = second[name] + x.square().sum(0)
    costs = []
    for (name, modality), count in zip(schema.items(), table.observed.sum(0), strict=True):
        n = count.clamp(min=1)
        costs.append(modality.constant_cost(first[name] / n, second[name] / n))
    return torch.where(table.observed.any(0), torch.stack(costs), 0.0)
