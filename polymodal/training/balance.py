"""Weights under which no modality drowns another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal import parallel
from polymodal.table import steps

if TYPE_CHECKING:
    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table import Table

__all__ = ["balance", "balanced_weights", "constant_costs"]


def balance(model: Model, rows: Table) -> None:
    """Measures a model's balanced weights, once; does nothing where they are measured or not asked for."""
    if not model.weighed:
        model.weight.copy_(
            balanced_weights(model.schema, constant_costs(model.schema, rows, likelihood=model.likelihood))
        )
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


def constant_costs(schema: Schema, rows: Table, *, likelihood: bool = False, batch_size: int = 1024) -> Tensor:
    """The mean cost of each modality's best constant prediction, over the rows that have it.

    Arguments:
        schema: The modalities.
        rows: A table, or anything with its `batches`; gone through once, by several processes in turn.
        likelihood: Of -log p(x | z) in place of the cost.
        batch_size: Rows at a time.

    Returns:
        `(M,)` float64; 0 for a modality that no row has.

    Raises:
        FloatingPointError: One of them is not finite; names the modality.
    """
    sums: dict[str, tuple[Any, Any]] = {}
    counts = torch.zeros(len(schema), dtype=torch.float64)
    turns = parallel.world() if steps(len(rows), batch_size) >= parallel.world() else 1
    turn: dict[str, Any] = {"start": parallel.rank(), "stride": turns} if turns > 1 else {}
    for batch in rows.batches(batch_size, **turn):
        values = schema.hide(batch, torch.float64)
        counts += batch.observed.sum(0).cpu()
        for (name, modality), has in zip(schema.items(), batch.observed.unbind(1), strict=True):
            first, second = (moment.cpu().double() for moment in modality.moments(values[name][has]))
            a, b = sums.get(name, (0.0, 0.0))
            sums[name] = a + first, b + second
    if turns > 1:
        counts = parallel.sums(counts)
        sums = {name: (parallel.sums(a), parallel.sums(b)) for name, (a, b) in sums.items()}
    costs = torch.zeros_like(counts)
    for column, (name, modality) in enumerate(schema.items()):
        if n := counts[column]:
            first, second = sums[name]
            costs[column] = modality.constant_cost(first / n, second / n, likelihood=likelihood)
        if not costs[column].isfinite():
            raise FloatingPointError(
                f"the best constant's cost of {name!r} must be finite, to balance the weights; got "
                f"{float(costs[column])}; look at its values, or pass weights='sum' to build"
            )
    return costs
