"""Measurements before the first training step: the balanced loss weights, and the cost of the best constant prediction.

With c*_m the mean cost of the best constant prediction of modality m over the training rows that have it, and s_m the
share of rows that have it, the balanced loss weights are `w_m = max_j c*_j / c*_m`, and the reference cost, to which a
relative penalty weight refers, is `R = sum_m w_m c*_m s_m`.
"""

from __future__ import annotations

from math import isfinite, prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.runtime import distributed
from polymodal.table.table import steps

if TYPE_CHECKING:
    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["balance", "balanced_weights", "constant_costs"]


def balance(model: Model, rows: Table) -> None:
    """Measures a model's balanced loss weights and its reference cost, once.

    Does nothing where they are measured already, or where the model needs neither.
    """
    if model.weighed:
        return
    costs, present = _measure(model.schema, rows, likelihood=model.likelihood)
    with distributed.together():
        _check(model.schema, costs)
    if model.weights == "balanced":
        model.weight.copy_(balanced_weights(model.schema, costs))
    reference = float(model.weight.cpu().double() @ (costs * present))
    model.set_reference_cost(reference if reference > 0 else 1.0)  # 0 where no modality ever varies
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


MOST = 16 * 2**20
"""Bytes of values in float64 that are read at a time."""


def constant_costs(schema: Schema, rows: Table, *, likelihood: bool = False, batch_size: int | None = None) -> Tensor:
    """The mean cost of each modality's best constant prediction, over the rows that have it.

    Arguments:
        schema: The modalities.
        rows: A table, or anything with its `batches`; gone through once, by several processes in turn.
        likelihood: Of -log p(x | z) in place of the cost.
        batch_size: Rows at a time; by default as many as have 16 MB of values, at most 1,024.

    Returns:
        `(M,)` float64; 0 for a modality that no row has.

    Raises:
        FloatingPointError: One of them is not finite; names the modality.
    """
    costs, _ = _measure(schema, rows, likelihood=likelihood, batch_size=batch_size)
    _check(schema, costs)
    return costs


def _measure(
    schema: Schema, rows: Table, *, likelihood: bool = False, batch_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """See `constant_costs`; and the share of the rows that have each modality, `(M,)` float64."""
    if batch_size is None:
        batch_size = min(1024, max(1, MOST // sum(8 * prod(modality.shape) for modality in schema.values())))
    sums: dict[str, tuple[Any, Any]] = {}
    counts = torch.zeros(len(schema), dtype=torch.float64)
    turns = distributed.world() if steps(len(rows), batch_size) >= distributed.world() else 1
    turn: dict[str, Any] = {"start": distributed.rank(), "stride": turns} if turns > 1 else {}
    for batch in rows.batches(batch_size, **turn):
        values = schema.hide(batch, torch.float64)
        counts += batch.observed.sum(0).cpu()
        for (name, modality), has in zip(schema.items(), batch.observed.unbind(1), strict=True):
            first, second = (moment.cpu().double() for moment in modality.moments(values[name][has]))
            a, b = sums.get(name, (0.0, 0.0))
            sums[name] = a + first, b + second
    if turns > 1:
        counts = distributed.sums(counts)
        sums = {name: (distributed.sums(a), distributed.sums(b)) for name, (a, b) in sums.items()}
    costs = torch.zeros_like(counts)
    for column, (name, modality) in enumerate(schema.items()):
        if n := counts[column]:
            first, second = sums[name]
            costs[column] = modality.constant_cost(first / n, second / n, likelihood=likelihood)
    return costs, counts / max(1, len(rows))


def _check(schema: Schema, costs: Tensor) -> None:
    for name, cost in zip(schema, costs.tolist(), strict=True):
        if not isfinite(cost):
            raise FloatingPointError(
                f"the best constant's cost of {name!r} must be finite, to balance the weights; got {cost}; look at its "
                "values, or pass weights='sum' and relative=False to build"
            )
